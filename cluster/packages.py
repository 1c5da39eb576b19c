"""Our packages in a separate folder, the only code of the driver that workers can import.

Ray puts the driver's current folder on the workers' path, so a user's own `analysis/` or `tuning/`
there would be imported instead of ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path

PACKAGES = ("adaptertune", "tuning", "trainables", "search_spaces", "cluster", "analysis")
WORKER_ANSWERS_WITHIN_S = 60.0
"""Seconds to wait for an answer; the worker has to start first."""


def package_folder(package: str) -> Path:
    """The folder of one of our packages, which is next to this one."""
    folder = Path(__file__).resolve().parents[1] / package
    if not (folder / "__init__.py").is_file():
        raise ModuleNotFoundError(
            f"the package '{package}' of adaptertune is not in {folder.parent}; install it again"
        )
    return folder


def stage_packages(target: Path, *, link: bool) -> Path:
    """Fill `target` with our packages only, as links, or as copies to send to other machines."""
    target.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        source = package_folder(package)
        if link:
            (target / package).symlink_to(source, target_is_directory=True)
        else:
            shutil.copytree(source, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return target


def foreign_on_workers() -> dict[str, str]:
    """Packages with our names that workers would import from elsewhere, and their folders.

    This is for a Ray that the process already uses: its workers see the folder that it was started in. Our
    packages are recognized by `adaptertune` next to them. One worker is queried; if it does not answer in
    time, nothing is reported.
    """
    import ray

    names = PACKAGES

    def elsewhere() -> dict[str, str]:
        # Ray sends a nested function by value, so the worker imports none of our packages for it.
        from importlib.util import find_spec
        from os.path import dirname, isfile, join

        found = {}
        for name in names:
            spec = find_spec(name)
            folders = list(spec.submodule_search_locations or ()) if spec is not None else []
            place = folders[0] if folders else (spec.origin if spec is not None else None) or "nowhere"
            if not isfile(join(dirname(place), "adaptertune", "own_packages.py")):
                found[name] = place
        return found

    task = ray.remote(num_cpus=0, max_retries=0)(elsewhere).remote()
    try:
        answer: dict[str, str] = ray.get(task, timeout=WORKER_ANSWERS_WITHIN_S)
    except ray.exceptions.RayError:  # a timeout, too; the sweep itself reports a cluster that does not work
        ray.cancel(task, force=True)
        return {}
    return answer
