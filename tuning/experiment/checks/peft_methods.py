"""Names of PEFT's methods, read from the installed package's source: importing PEFT takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trainables.adapters.unfit_methods import UNFIT
from tuning.experiment.file_errors import suggestion


def method_error(name: str) -> str | None:
    """The error in the name of a PEFT method; None if it is valid, or if PEFT's source is not found."""
    known, upper = peft_method_names(), name.upper()
    if upper in UNFIT:
        return f"{upper} cannot be used here: {UNFIT[upper]}"
    if known and upper not in known:
        usable = [method for method in known if method not in UNFIT]
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
