"""Shell completion of experiments, trials, trained adapters and experiment files.

The shell waits for these functions at each press of Tab, so they only list folders and read no ledger. On any
error they offer nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import shorten

import typer

# Equal to the constants of `tuning.ledger.storage` and others, as a test checks; those modules take long to
# import.
STORAGE_VARIABLE = "ADAPTERTUNE_STORAGE"
DEFAULT_STORAGE = "experiments"
LEDGER = "ledger.jsonl"
TRIALS = "trials"
TRAINED = "trained"
BEST = "best"

HELP_WIDTH = 70
"""Typer would break longer help of a completion into lines, which shells then read as more entries."""


def complete_experiment(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of the experiments under `--storage`."""
    with suppress(Exception):
        return [name for name in _experiments(_storage(ctx)) if name.startswith(incomplete)]
    return []


def complete_trial(ctx: typer.Context, incomplete: str) -> list[str]:
    """NAME, and NAME:best and NAME:3 once the name is complete."""
    with suppress(Exception):
        return list(_trials(_storage(ctx), incomplete, best=True))
    return []


def complete_trial_number(ctx: typer.Context, incomplete: str) -> list[str]:
    """NAME, and NAME:3 once the name is complete."""
    with suppress(Exception):
        return list(_trials(_storage(ctx), incomplete, best=False))
    return []


def complete_adapter(ctx: typer.Context, incomplete: str) -> list[str]:
    """As `complete_trial`, and the folders that `train` wrote under `--storage`."""
    with suppress(Exception):
        storage = _storage(ctx)
        runs = (entry.name for entry in _folders(storage / TRAINED))
        return [
            *_trials(storage, incomplete, best=True),
            *sorted(name for name in runs if name.startswith(incomplete)),
        ]
    return []


def complete_file(incomplete: str) -> list[str | tuple[str, str]]:
    """The experiment files that ship with adaptertune, and the YAML files of the working directory."""
    with suppress(Exception):
        return [*_shipped(incomplete), *_files(incomplete)]
    return []


def complete_shipped(incomplete: str) -> list[str | tuple[str, str]]:
    """The experiment files that ship with adaptertune."""
    with suppress(Exception):
        return list(_shipped(incomplete))
    return []


# --- what there is ----------------------------------------------------------------------------


def _storage(ctx: typer.Context) -> Path:
    given = ctx.params.get("storage")
    folder = str(given) if given is not None else os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    return Path(folder).expanduser()


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _experiments(storage: Path) -> list[str]:
    return sorted(entry.name for entry in _folders(storage) if os.path.isfile(f"{entry.path}/{LEDGER}"))


def _trials(storage: Path, incomplete: str, *, best: bool) -> Iterator[str]:
    """The experiments with this prefix; after a colon, the trials of that experiment."""
    names = [name for name in _experiments(storage) if name.startswith(incomplete)]
    yield from names
    name, colon, part = incomplete.rpartition(":")
    if not colon:
        if len(names) == 1 and best:
            yield f"{names[0]}:{BEST}"
        return
    here = storage / name if (storage / name / LEDGER).is_file() else Path(name).expanduser()
    if not (here / LEDGER).is_file():
        return
    if best and BEST.startswith(part):
        yield f"{name}:{BEST}"
    numbers = sorted(int(entry.name) for entry in _folders(here / TRIALS) if entry.name.isdecimal())
    yield from (f"{name}:{number}" for number in numbers if str(number).startswith(part))


def _shipped(incomplete: str) -> Iterator[tuple[str, str]]:
    from search_spaces.catalog import shipped_experiments

    for file in shipped_experiments():
        if file.name.startswith(incomplete):
            yield file.name, shorten(file.headline, HELP_WIDTH, placeholder=" …")


def _files(incomplete: str) -> Iterator[str]:
    """YAML files in the current folder. The shell itself completes other paths if nothing is offered."""
    if "/" in incomplete:
        return
    for name in sorted(os.listdir()):
        if name.startswith(incomplete) and name.endswith((".yaml", ".yml")):
            yield name
