"""An experiment: the content of its YAML file as one frozen, strict value.

`tuning.experiment.load` reads a file and reports every error at once. `Experiment.model_validate_json`
reads the output of `model_dump(mode="json")`, as the ledger stores it; such a value was checked before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
)

from trainables.errors import ExperimentFileError
from trainables.specs.base import Spec
from trainables.specs.data import DataSpec, EmbeddedData
from trainables.specs.definitions import Definitions
from trainables.specs.trial import LOSS_WEIGHTS, TrialConfig
from trainables.specs.workload import ModelSpec, ObjectiveSpec, Task, Workload
from tuning.experiment.dotted import put_nested
from tuning.experiment.scaled_rates import scales_in
from tuning.experiment.sections.ablation import AblationSpec
from tuning.experiment.sections.checkpoints import CheckpointSpec
from tuning.experiment.sections.confirm import ConfirmSpec
from tuning.experiment.sections.durability import Durability
from tuning.experiment.sections.objectives import BoundSpec, FurtherObjective
from tuning.experiment.sections.resources import ResourceSpec
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.experiment.sections.scoring import ScoringSpec
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.sections.views import ViewsSpec
from tuning.experiment.smaller_images import smaller_images
from tuning.experiment.space import Space


class Experiment(Spec):
    """An experiment. `trial` is nested as in `TrialConfig`; `space` has dotted names."""

    name: Annotated[str, Field(min_length=1)]
    task: Task
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec(embedded=EmbeddedData())
    objective: ObjectiveSpec
    """The first objective, which decides wherever one number is needed."""
    further: tuple[FurtherObjective, ...] = ()
    """The other objectives; in the file they follow in the list `objective`."""
    constraints: dict[str, BoundSpec] = Field(default_factory=dict)
    """Bounds on metrics and costs of a trial; those that break one are not ranked."""
    trial: dict[str, JsonValue] = Field(default_factory=dict)
    space: Space = Space()
    search: SearchSpec = SearchSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    resources: ResourceSpec = ResourceSpec()
    scoring: ScoringSpec = ScoringSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    views: ViewsSpec = ViewsSpec()
    confirm: ConfirmSpec | None = None
    """Whether the best trials are repeated over new seeds once the search has ended."""
    ablation: AblationSpec | None = None
    """The comparison that a designed experiment makes."""
    retries: Annotated[int, Field(ge=0)] = 0
    """The number of times that a trial is restarted from its checkpoint after its worker died."""
    durability: Durability = Durability.OS
    """When a line of the ledger, or a checkpoint, counts as written."""
    definitions: Definitions = Definitions()
    """Those that the experiment began with; the record holds them, not the file."""
    source_text: str = ""
    """The text of the file."""

    @property
    def durable(self) -> bool:
        """Whether what is written must survive a power failure."""
        return self.durability is Durability.DISK

    @property
    def workload(self) -> Workload:
        """The settings that all trials share."""
        fold = self.trial.get("fold")
        whole = Workload(
            task=self.task,
            model=self.model,
            data=self.data,
            objective=self.objective,
            also=tuple(dict.fromkeys([*(o.metric for o in self.further), *self.constraints])),
            definitions=self.definitions,
            each_fold="fold" in self.space.root,
            smaller=smaller_images(self.scheduler.asha, self.max_epochs),
        )
        return whole.at_fold(fold) if isinstance(fold, int) else whole

    @property
    def max_epochs(self) -> int:
        """The most epochs that any trial runs."""
        if "epochs" in self.space.root:
            ends = [max(d.choice) if d.choice else d.highest for d in self.space.root["epochs"]]  # type: ignore[type-var]
            return int(max(ends))  # type: ignore[arg-type,type-var]
        given = self.trial.get("epochs", TrialConfig.model_fields["epochs"].default)
        assert isinstance(given, int)
        return given

    @property
    def packs(self) -> bool:
        """Whether trials are computed in packs: not if the images of partners may have different sizes."""
        return self.resources.packs and not self.scheduler.smaller_images

    @property
    def trials_asked(self) -> int | None:
        """The number of trials of a sweep; None if neither the file nor the size of its space limits it."""
        limits = (self.search.trials, self.space.size())
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def trials_expected(self) -> int | None:
        """How many trials there will be at least; None if that is not known.

        A budget of epochs counts as the number of trials that it holds if each of them runs to its end.
        """
        budget = self.search.epochs
        limits = (self.trials_asked, None if budget is None else max(1, budget // self.max_epochs))
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def weighted_classes(self) -> tuple[str, ...]:
        """The classes that `loss_weights` of any trial names."""
        fixed = self.trial.get(LOSS_WEIGHTS)
        named = list(fixed) if isinstance(fixed, dict) else []
        searched = [n.partition(".")[2] for n in self.space.root if n.startswith(f"{LOSS_WEIGHTS}.")]
        return tuple(dict.fromkeys([*named, *searched]))

    def settings(self, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """`trial`, overridden by `params` (with dotted names), nested as in `TrialConfig`.

        Learning rates that the space scales are those at which the trial trains.
        """
        merged = self._merged(params)
        for name, rate in self._scaled(params, merged).items():
            merged[name] = rate
        return merged

    def scaled_rates(self, params: Mapping[str, JsonValue]) -> dict[str, float]:
        """The learning rates at which a trial of these parameters trains, of those that the space scales."""
        if not any(self.space.scaled(name) for name in params):
            return {}  # asked of each row of a table
        return self._scaled(params, self._merged(params))

    def scales(self, params: Mapping[str, JsonValue]) -> dict[str, float]:
        """What the drawn learning rates are multiplied by, of those that the space scales."""
        return scales_in(self.space, params, self._merged(params))

    def _merged(self, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        merged = copy.deepcopy(self.trial)
        for name, value in params.items():
            put_nested(merged, name.split("."), value)
        return merged

    def _scaled(self, params: Mapping[str, JsonValue], merged: Mapping[str, JsonValue]) -> dict[str, float]:
        scales = scales_in(self.space, params, merged)
        return {name: float(params[name]) * scale for name, scale in scales.items()}  # type: ignore[arg-type]

    def trial_config(self, params: Mapping[str, JsonValue]) -> TrialConfig:
        """The configuration of a trial: the defaults, overridden by `trial`, then by `params`.

        Raises ExperimentFileError if they do not fit together; parameters of a checked space always do.
        """
        try:
            return TrialConfig.model_validate_json(json.dumps(self.settings(params)))
        except ValidationError as error:
            reasons = "; ".join(
                ": ".join(
                    filter(None, (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")))
                )
                for e in error.errors()
            )
            raise ExperimentFileError(
                f"{self.name}: {json.dumps(dict(params))} is not a valid configuration: {reasons}"
            ) from error

    def require_space(self) -> None:
        """Raise ExperimentFileError if there is nothing to search, which is valid for `train` only."""
        if not self.space:
            raise ExperimentFileError(
                f"{self.name} has no `space`, so there is nothing to search; add one, "
                "or run its one configuration with `adaptertune train`"
            )


NOT_IN_FILES = {"definitions", "source_text", "further"}
"""Fields of an experiment that are not keys of its file."""
