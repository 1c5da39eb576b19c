"""The command line of benchmarks that compare this checkout with another one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parser_of(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options for another checkout. rounds: how often each takes its turn by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument(
        "--against-python", type=Path, metavar="PATH", default=Path(sys.executable), help="its interpreter"
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def compared(given: argparse.Namespace) -> list[tuple[Path, Path]]:
    """(folder, interpreter) of this checkout and, if one is given, of the other."""
    this = (ROOT, Path(sys.executable))
    return [this] if given.against is None else [this, (given.against.resolve(), given.against_python)]
