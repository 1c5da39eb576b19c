"""The versions that `--version` shows, from package metadata: the libraries are not imported."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("torch", "ray", "optuna", "transformers", "peft")


def version_lines() -> Iterator[str]:
    """A line for adaptertune, Python and each of the main libraries."""
    yield f"adaptertune {_installed('adaptertune')}"
    yield f"python {platform.python_version()}"
    for library in LIBRARIES:
        yield f"{library} {_installed(library)}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
