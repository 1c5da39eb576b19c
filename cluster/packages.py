"""The five packages in a folder of their own, which is all of the driver's code that workers see.

Ray puts the driver's current folder on the workers' path, so a user's own `analysis/` or `tuning/`
there would be imported in place of ours.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

PACKAGES = ("tuning", "trainables", "search_spaces", "cluster", "analysis")


def package_folder(package: str) -> Path:
    """Where this process imports a package from."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package '{package}' of adaptertune is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def stage(target: Path, *, link: bool) -> Path:
    """Fills `target` with the five packages and nothing else, as links or as copies to send away."""
    target.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        source = package_folder(package)
        if link:
            (target / package).symlink_to(source, target_is_directory=True)
        else:
            shutil.copytree(source, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return target
