"""Imports adaptertune's packages from the folder that contains this one, whatever is on `sys.path`.

Their names are short, so a user's folder may contain another `tuning.py` or `analysis/`. `sys.path` is not
changed: all other modules are found as before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("analysis", "cluster", "search_spaces", "trainables", "tuning")
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of the packages."""


class OwnPackagesFinder:
    """A finder for `sys.meta_path` that finds our packages in `folder`, and nothing else."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of our packages; None for any other module.

        Raises ModuleNotFoundError if one of our packages is missing: another one must not replace it.
        """
        if path is not None or name not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, [self.folder])
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(
                f"adaptertune is not complete: its package '{name}' is not in {self.folder}; reinstall it",
                name=name,
            )
        return spec


def prefer_own_packages(folder: str = FOLDER) -> None:
    """Make this process import our packages from `folder`.

    Raises ImportError if another module of one of their names was imported before.
    """
    for name in PACKAGES:
        if (module := sys.modules.get(name)) is not None and not _is_ours(module, os.path.join(folder, name)):
            raise ImportError(
                f"adaptertune needs its own package '{name}', but this process has already imported another"
                f" module of that name, from {_origin(module)}. Start a new process and import adaptertune"
                " first, or give that module another name",
                name=name,
                path=folder,
            )
    if any(isinstance(finder, OwnPackagesFinder) and finder.folder == folder for finder in sys.meta_path):
        return
    # Before the finder that reads `sys.path`, after hooks such as pytest's, which wrap what finders find.
    finders: list[object] = list(sys.meta_path)
    place = finders.index(PathFinder) if PathFinder in finders else len(finders)
    sys.meta_path.insert(place, OwnPackagesFinder(folder))


def _is_ours(module: ModuleType, package: str) -> bool:
    """Whether a module is the package in that folder, also by way of a link."""
    return os.path.realpath(package) in map(os.path.realpath, getattr(module, "__path__", ()))


def _origin(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return str(file or next(iter(getattr(module, "__path__", ())), "an unknown place"))
