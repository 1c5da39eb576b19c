"""docs/reference/commands.md and exit-codes.md agree with the commands."""

from __future__ import annotations

import re
from pathlib import Path

from docs.generate_commands import FILE, command_reference
from tuning import exit_codes
from tuning.cli.app import COMMANDS, load_command

ROOT = Path(__file__).parents[1]


def test_the_command_reference_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == command_reference(), "run `python -m docs.generate_commands`"


def test_the_command_reference_has_every_command_and_option() -> None:
    sections = dict(re.findall(r"^### ([a-z]+)\n(.*?)(?=^##|\Z)", command_reference(), re.M | re.S))
    assert list(sections) == list(COMMANDS)
    for name, text in sections.items():
        for parameter in load_command(name).params:
            for option in parameter.opts:
                assert f"`{option}" in text or parameter.param_type_name == "argument"


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert documented == codes | {0}
