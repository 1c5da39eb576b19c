"""A trained adapter by name: a trial of an experiment, or a folder written by `train`.

The command line replaces `best` by a trial number before it calls this module. torch is imported only
when weights are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from trainables.errors import StorageError
from trainables.run_folder import BEST_WEIGHTS, SPLITS
from trainables.specs.owner import Owner
from trainables.specs.tasks import SCORE_THRESHOLD
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.storage_paths import Place, StorePath
from trainables.wording import plural
from tuning.checkpoints.owners import owner_of
from tuning.checkpoints.run_definitions import run_definitions
from tuning.experiment.load import load_run_file
from tuning.experiment.spec import Experiment
from tuning.experiment.write import experiment_yaml
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import read_history
from tuning.ledger.lineage import can_be_repeated
from tuning.ledger.outcomes import Outcome
from tuning.ledger.storage import Reference, checkpoint_root, parse_reference, shell_name, trial_folder
from tuning.ranking.finalists import RunReport, best_report

if TYPE_CHECKING:
    from trainables.inference.trained_model import TrainedModel

EXPERIMENT = "experiment.yaml"
REPORTS = "reports.jsonl"
ENVIRONMENT = "environment.json"
DATA = "data.json"
TRAINED = "trained"
"""The folder under a storage folder in which `train` keeps its runs."""


@dataclass(frozen=True)
class TrainedAdapter:
    """The recorded data of a trained adapter, and the location of its weights."""

    title: str
    """Its name for people: `digits, trial 3`."""
    experiment: Experiment
    params: Mapping[str, JsonValue]
    """By dotted name, overriding the experiment's own settings; empty for a run of `train`."""
    config: TrialConfig
    weights: Place | None
    """The checkpoint of its best report; None for the pretrained baseline."""
    classes: tuple[str, ...]
    """The classes of its training data; empty without weights."""
    metrics: Mapping[str, float]
    """On validation images, from the report of the kept weights."""
    epoch: float | None
    """The epoch of that report."""
    reproduce: str
    """The command that trains it again; empty if it is not known where one that it began with was."""
    environment: Mapping[str, JsonValue] = field(default_factory=dict)
    """The environment of the training, see `tuning.ledger.environment`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The number of images by split, if known."""
    test: Mapping[str, float] = field(default_factory=dict)
    """Metrics on the test images, if it was scored."""
    domains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics in each domain."""
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The floors of its data, see `PreparedRecord`; empty if they were not recorded."""
    owner: Owner | None = None
    """Whose its weights must be; None for a run of `train`."""
    collapsed: bool | None = None
    """Whether its objective is no better than a constant predictor's; None if that is not recorded."""

    @property
    def workload(self) -> Workload:
        """Task, model, data and objective."""
        return self.experiment.workload.at_fold(self.config.fold)

    @property
    def yaml(self) -> str:
        """Its configuration as an experiment file for `train`."""
        return experiment_yaml(self.experiment, self.params)

    @property
    def score_threshold(self) -> float | None:
        """For boxes: the score with the highest F1 on its validation images; None if none was right.

        None, too, for a run that was recorded before thresholds were chosen, and for the pretrained baseline.
        """
        return self.metrics.get(SCORE_THRESHOLD)

    def load(self, device: str | None = None) -> TrainedModel:
        """Load the model. Raises CheckpointError, ModelError, or StorageError if it has no weights."""
        from trainables.inference.trained_model import load_trained

        if self.weights is None:
            raise StorageError(f"{self.title} has no trained weights; it is the pretrained model")
        return load_trained(self.workload, self.weights, device=device, owner=self.owner)


def find_trained(text: str, storage: Path) -> Reference | Path:
    """The experiment, or one of its trials, or the folder of a run of `train`, that `text` names.

    Raises StorageError with the names that exist.
    """
    for folder in (Path(text), storage / TRAINED / text):
        if (folder / EXPERIMENT).is_file():
            return folder.absolute()
    try:
        return parse_reference(text, storage)
    except StorageError as error:
        runs = sorted(path.parent.name for path in (storage / TRAINED).glob(f"*/{EXPERIMENT}"))
        there = f" (under {storage / TRAINED}: {', '.join(runs[:20])})" if runs else ""
        raise StorageError(
            f"{error}. A trained adapter is NAME:TRIAL, NAME:best, NAME:best:METRIC,"
            f" or a folder that `adaptertune train` wrote{there}"
        ) from error


def adapter_of_trial(folder: Path, number: int) -> TrainedAdapter:
    """The trained adapter of a trial.

    Raises StorageError if the trial is unknown, kept no weights, or its object store does not answer, and
    CheckpointError if the file there is not of this trial.
    """
    history = read_history(folder)
    experiment = experiment_of(history.header)
    trial = history.trials.get(number)
    if trial is None:
        raise StorageError(
            f"{history.name} has no trial {number}; it has {plural(len(history.trials), 'trial')},"
            " numbered from 0"
        )
    if trial.ended is not None and trial.ended.outcome is Outcome.REUSED and trial.ended.of is not None:
        number = trial.ended.of  # the trial that ran this configuration
        trial = history.trials[number]
    root = checkpoint_root(experiment, folder)
    weights = trial_folder(root, number) / BEST_WEIGHTS
    if not weights.is_file():
        raise StorageError(_no_weights(folder, root, history, number))
    kept = best_report(trial.reports, experiment.objective.metric, experiment.workload.direction)
    scored, parent = history.scores.get(number), trial.parent
    owner = owner_of(experiment, trial)
    return TrainedAdapter(
        title=f"{history.name}, trial {number}" + (f", which {parent.told}" if parent is not None else ""),
        experiment=experiment,
        params=dict(trial.settings),
        config=experiment.trial_config(dict(trial.settings)),
        weights=weights,
        owner=owner,
        classes=_classes(weights, owner),
        metrics={} if kept is None else kept.metrics,
        epoch=None if kept is None else kept.epoch,
        collapsed=None if kept is None else kept.collapsed,
        reproduce=(
            f"adaptertune train --from {shell_name(folder)}:{number}"
            if can_be_repeated(history, number)
            else ""
        ),
        environment=history.header.environment,
        counts=dict(history.prepared.counts) if history.prepared is not None else {},
        test=_numbers(scored.metrics) if scored is not None else {},
        domains={name: _numbers(shifted) for name, shifted in scored.domains.items()} if scored else {},
        floors=history.prepared.floors if history.prepared is not None else {},
    )


def adapter_of_folder(folder: Path) -> TrainedAdapter:
    """The trained adapter of a run of `train`. Raises StorageError before its first report, and
    ExperimentFileError.
    """
    known = run_definitions(folder)
    written = load_run_file(folder / EXPERIMENT)
    experiment = written.model_copy(update={"definitions": known.definitions})
    weights = folder / BEST_WEIGHTS
    if not weights.is_file():
        raise StorageError(
            f"{folder} contains no {BEST_WEIGHTS}: the run ended before its first report; train it again with"
            f" `adaptertune train {quote(str(folder / EXPERIMENT))}`"
        )
    kept = best_report(_reports(folder / REPORTS), experiment.objective.metric, experiment.workload.direction)
    return TrainedAdapter(
        title=f"{experiment.name} in {folder.name}",
        experiment=experiment,
        params={},
        config=experiment.trial_config({}),
        weights=weights,
        classes=_classes(weights),
        metrics={} if kept is None else kept.metrics,
        epoch=None if kept is None else kept.epoch,
        collapsed=None if kept is None else kept.collapsed,
        reproduce=f"adaptertune train {quote(str(folder / EXPERIMENT))}",
        environment=_json(folder / ENVIRONMENT),
        counts={
            part: len(names) for part, names in _json(folder / SPLITS).items() if isinstance(names, list)
        },
        floors=known.floors,
    )


def pretrained_baseline(experiment: Experiment) -> TrainedAdapter:
    """The pretrained model of an experiment, without an adapter."""
    return TrainedAdapter(
        title=f"pretrained baseline of {experiment.name}",
        experiment=experiment,
        params={},
        config=TrialConfig.model_validate_json('{"adapter": "none"}'),
        weights=None,
        classes=(),
        metrics={},
        epoch=None,
        reproduce="",
    )


def trials_with_weights(root: Place) -> list[int]:
    """The numbers of the trials that kept their best weights. Raises StorageError for an object store.

    root: the result of `tuning.ledger.storage.checkpoint_root`.
    """
    trials = root / "trials"
    names = (
        [Path(name) for name in trials.files()]
        if isinstance(trials, StorePath)
        else list(trials.glob(f"*/{BEST_WEIGHTS}"))
    )
    return sorted(
        int(path.parent.name) for path in names if path.name == BEST_WEIGHTS and path.parent.name.isdigit()
    )


def _no_weights(folder: Path, root: Place, history: History, number: int) -> str:
    kept = trials_with_weights(root)
    there = (
        "trials with weights: " + ", ".join(map(str, kept[:20])) + (" …" if len(kept) > 20 else "")
        if kept
        else "no trial has any"
    )
    trial = history.trials[number]
    again = f"Train it again with `adaptertune train --from {shell_name(folder)}:{number}`"
    if BEST_WEIGHTS in trial.removed:
        return (
            f"the weights of trial {number} of {history.name} were removed to keep checkpoints.budget_gb;"
            f" {there}. {again}"
        )
    why = f" ({trial.ended.reason})" if trial.ended is not None and trial.ended.reason else ""
    return (
        f"trial {number} of {history.name} left no weights in {trial_folder(root, number)}{why}; {there}."
        f" {again}"
    )


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}


def _reports(path: Path) -> list[RunReport]:
    """Every report; the last line may be incomplete, from a run that was killed."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        reports = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            RunReport(
                float(report["epoch"]),
                dict(report["metrics"]),
                _pair(report.get("above_floor")),
                _size(report.get("image_size")),
            )
            for report in reports
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read ({error}); train again into another folder") from error


def _pair(ends: Any) -> tuple[float, float] | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))


def _size(sides: Any) -> tuple[int, int] | None:
    return None if sides is None else (int(sides[0]), int(sides[1]))


def _json(path: Path) -> dict[str, JsonValue]:
    """The content of an optional file of a run; empty if it is absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _classes(weights: Place, owner: Owner | None = None) -> tuple[str, ...]:
    from trainables.training.checkpoint import read_weights

    return read_weights(weights, owner).classes
