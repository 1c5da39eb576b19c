"""The command `repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.options import Name, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuning.ledger.repair import Repaired


def run_repair(
    name: Name,
    to: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="The name of the copy, in the same folder. Default: NAME-repaired."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Write a valid copy of an experiment whose record is damaged, and say what it leaves out.

    The experiment itself stays as it is. A line with a single flipped bit is restored by its checksum; other
    damaged lines, and those that cannot stand without them, are left out. The copy has the logs and
    checkpoints, and is an experiment like any other: it can be queried, and resumed.

    Examples:

        adaptertune repair nuclei
    """
    from tuning.ledger.driver_state import driver_alive
    from tuning.ledger.repaired_copy import examine_record, write_copy
    from tuning.ledger.storage import find_experiment, shell_name, storage_folder

    folder = find_experiment(name, storage_folder(storage)).absolute()
    if driver_alive(folder):
        stop = f"`adaptertune stop {shell_name(folder)}`"
        raise StorageError(
            f"{folder.name} is running; a copy would miss what is still recorded. {stop} ends it"
        )
    found = examine_record(folder)
    if not found.damaged:
        print_answer(f"the record of {folder.name} is valid; there is nothing to repair")
        return
    copy = folder.with_name(f"{folder.name}-repaired" if to is None else _folder_name(to))
    write_copy(folder, copy, found)
    for line in report_lines(found, copy):
        print_answer(line)


def _folder_name(given: str) -> str:
    """Raise StorageError if a name is not that of a folder beside the experiment."""
    if given in ("", ".", "..") or "/" in given:
        raise StorageError(f"--to takes a name, for a folder beside the experiment, got '{given}'")
    return given


def report_lines(found: Repaired, copy: Path) -> Iterator[str]:
    """What was restored, what was left out, and how to continue, line by line."""
    from trainables.wording import plural
    from tuning.ledger.storage import shell_name

    for change in found.restored:
        yield f"line {change.number}: restored ({change.what}): {change.why}"
    for change in found.left_out:
        yield f"line {change.number}: left out ({change.what}): {change.why}"
    if lost := found.lost_trials:
        yield f"nothing is left of {plural(len(lost), 'trial')}: {', '.join(map(str, lost))}"
    trials = found.history.trials.values()
    unfinished = sum(not trial.over for trial in trials)
    yield (
        f"wrote {copy}: {plural(len(found.lines), 'line')}, {plural(len(trials), 'trial')},"
        f" {unfinished} of them not ended; `adaptertune resume {shell_name(copy)}` continues it"
    )
