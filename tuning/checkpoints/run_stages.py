"""What a run of `train` trains first, because the trial that it repeats began with it; kept in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trainables.errors import StorageError
from trainables.specs.stage import Stage
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.lineage import line_of

STAGES = "stages.json"
_STAGES: TypeAdapter[tuple[Stage, ...]] = TypeAdapter(tuple[Stage, ...])


def stages_of(experiment: Experiment, history: History, number: int) -> tuple[Stage, ...]:
    """What is trained before trial `number`, the first one first; empty for one that began by itself.

    Raises StorageError if it is not known where one of its line began.
    """
    line, stages = line_of(history, number), []
    for link, following in pairwise(line):
        if link.until is None:
            raise StorageError(
                f"trial {number} goes back to trial {following.trial.number}, which"
                f" {following.trial.parent.told if following.trial.parent else ''} from where that was saved"
                " last, between two reports; so it cannot be trained from the start as it was. For its"
                " configuration alone, write its file with `adaptertune best NAME --format yaml`"
            )
        config = experiment.trial_config(dict(link.trial.settings))
        stages.append(Stage(config=config, until=link.until, state=link.state))
    return tuple(stages)


def write_stages(folder: Path, stages: Sequence[Stage]) -> None:
    """Write them into the folder of a run, if there are any."""
    if stages:
        (folder / STAGES).write_bytes(_STAGES.dump_json(tuple(stages), indent=1) + b"\n")


def run_stages(folder: Path) -> tuple[Stage, ...]:
    """Those of a run's folder. Raises StorageError for a damaged file."""
    path = folder / STAGES
    if not path.is_file():
        return ()
    try:
        return _STAGES.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{path} cannot be read ({error}); train again into another folder") from error
