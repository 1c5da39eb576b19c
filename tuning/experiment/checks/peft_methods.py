"""Names of PEFT's methods, read from the installed package's source: importing PEFT takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tuning.experiment.file_errors import suggestion

_UNFIT = {
    "ADALORA": "its ranks must be reallocated after every step; use adapter 'adalora'",
    "ADAPTION_PROMPT": "it is for language models",
    "CARTRIDGE": "it learns prompt tokens, which a vision backbone does not take",
    "CPT": "it learns prompt tokens, which a vision backbone does not take",
    "MULTITASK_PROMPT_TUNING": "it learns prompt tokens, which a vision backbone does not take",
    "POLY": "it needs a task id with every batch",
    "PREFIX_TUNING": "it learns prompt tokens, which a vision backbone does not take",
    "PROMPT_TUNING": "it learns prompt tokens, which a vision backbone does not take",
    "P_TUNING": "it learns prompt tokens, which a vision backbone does not take",
    "SHADOW": "it is for language models",
    "TRAINABLE_TOKENS": "it trains rows of a token embedding, which a vision model lacks",
    "XLORA": "it combines LoRA adapters that are already trained",
}
"""The same as in trainables.adapters.families.passthrough, which is authoritative."""


def method_error(name: str) -> str | None:
    """The error in the name of a PEFT method; None if it is valid, or if PEFT's source is not found."""
    known, upper = peft_method_names(), name.upper()
    if upper in _UNFIT:
        return f"{upper} cannot be used here: {_UNFIT[upper]}"
    if known and upper not in known:
        usable = [method for method in known if method not in _UNFIT]
        return f"PEFT has no method '{name}'{suggestion(upper, usable) or '; it has ' + ', '.join(usable)}"
    return None


@cache
def peft_method_names() -> tuple[str, ...]:
    """The values of PEFT's `PeftType`; empty if its source file is not found."""
    package = find_spec("peft")
    if package is None or package.origin is None:
        return ()
    source = Path(package.origin).parent / "utils" / "peft_types.py"
    if not source.is_file():
        return ()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == "PeftType":
            constants = [s.value for s in node.body if isinstance(s, ast.Assign)]
            return tuple(
                sorted(c.value for c in constants if isinstance(c, ast.Constant) and isinstance(c.value, str))
            )
    return ()
