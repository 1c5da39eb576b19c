"""An experiment: everything its YAML file says, as one frozen, strict value. No torch, ray or optuna.

`load_experiment` reads a file and reports every fault at once. `Experiment.model_validate_json` takes
back what `model_dump(mode="json")` gave, as the ledger stores it; such a value was checked before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainables.adapters.specs import Adapter
from trainables.config import TrialConfig
from trainables.data.specs import DataSpec, EmbeddedData
from trainables.errors import ExperimentFileError
from trainables.spec import Count, NotNegative, Positive, Spec
from trainables.store import uri_fault
from trainables.workload import ModelSpec, ObjectiveSpec, Task, Workload
from tuning.space import SECTION_NAMES, Space, config_hash
from tuning.tracking.specs import ViewsSpec

Hundredths = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]


class TpeSpec(Spec):
    """Optuna's tree-structured Parzen estimator, multivariate and with conditional groups."""

    startup_trials: Annotated[int, Field(ge=0)] = 10
    """Trials at random before the model of good configurations is asked."""


class RandomSpec(Spec):
    """Configurations at random."""


class GridSpec(Spec):
    """Every configuration once."""


class SearchSpec(Spec):
    """How configurations are proposed, how many, which ones first, and what is known beforehand."""

    # `from` is a word of Python's own; it is written as the file has it.
    model_config = ConfigDict(serialize_by_alias=True)

    tpe: TpeSpec | None = None
    random: RandomSpec | None = None
    grid: GridSpec | None = None
    trials: Count | None = None
    """Number of trials; a grid needs none."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    first: tuple[dict[str, JsonValue], ...] = ()
    """Configurations to try before any other, each complete, by dotted names."""
    from_: Annotated[tuple[str, ...], Field(alias="from")] = ()
    """Earlier experiments, by name or path, whose finished trials the search learns from."""

    @model_validator(mode="after")
    def _one_algorithm(self) -> Self:
        given = [kind for kind in ("tpe", "random", "grid") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"needs exactly one of tpe, random, grid; got {' and '.join(given)}")
        if not given:
            # A frozen value still under construction; a validator before it would undo strict JSON.
            self.__dict__["tpe"] = TpeSpec()
        return self


class AshaSpec(Spec):
    """Asynchronous successive halving with one bracket."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial gets: the first rung."""
    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0
    """Of each rung one in so many goes on."""


class MedianSpec(Spec):
    """Stops a trial whose objective lies below the median of the others' running averages."""

    grace_epochs: Hundredths = 1.0
    min_trials: Count = 3
    """Trials to compare with before any is stopped."""


class SchedulerSpec(Spec):
    """What stops a trial early: asha or median; nothing where both are absent (`none` in the file)."""

    asha: AshaSpec | None = None
    median: MedianSpec | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.asha is not None and self.median is not None:
            raise ValueError("needs exactly one of asha, median, or the word none; got asha and median")
        return self


class ResourceSpec(Spec):
    """What one trial occupies, and how many run at once."""

    cpus: Hundredths = 1.0
    gpus: NotNegative | Literal["auto"] = "auto"
    """GPUs of a trial: a part of one, or a whole number; auto: one where the machine has any."""
    concurrent: Count | None = None
    """Most trials at once; as many as fit when absent."""
    threads: Count = 1
    """CPU threads that torch uses in a trial."""

    @field_validator("gpus", mode="wrap")
    @classmethod
    def _number_or_auto(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        # One rule in place of one error for each side of the union.
        rule = PydanticCustomError(
            "gpus", "must be the word auto, a part of one GPU such as 0.5, or a whole number from 0 on"
        )
        try:
            gpus = handler(value)
        except ValidationError:
            raise rule from None
        # Ray gives out parts of a single GPU, and whole GPUs.
        if gpus != "auto" and gpus > 1 and not float(gpus).is_integer():
            raise rule
        return gpus


class Scored(StrEnum):
    """Which trials are scored on test images once the search is over."""

    FINALISTS = "finalists"
    """The best few."""
    ADAPTERS = "adapters"
    """The best of each adapter under each freezing mode."""
    EACH = "each"
    """All that ran to their own end."""
    NONE = "none"


class ScoringSpec(Spec):
    """Whose weights are scored on the test images and domains after the search, beside the untouched model.

    Trials are picked by their values on validation images; these scores change no ranking.
    """

    trials: Scored = Scored.FINALISTS
    finalists: Count = 3
    """How many, of `finalists`."""


class CheckpointSpec(Spec):
    """How often a running trial's state is saved, where, and how much of it all stays.

    A trial that dies loses what came after the last save. Saving never takes more than a twentieth of a
    trial's time, whatever is asked for.
    """

    every_s: NotNegative = 30.0
    every_epochs: Hundredths | None = None
    """Also at the first report after so many epochs."""
    budget_gb: Positive | None = None
    """What the checkpoints of all trials may take, in 10⁹ bytes; no limit when absent."""
    keep_best: Count = 3
    """Of so many of the best trials the budget takes no weights."""
    to: str | None = None
    """A store's folder, as a URI, that keeps them under the experiment's name; its own folder when absent."""

    @field_validator("to")
    @classmethod
    def _store(cls, uri: str | None) -> str | None:
        # A ValueError's message stands alone; other kinds repeat the value, which may hold a secret.
        if uri is not None and (fault := uri_fault(uri)) is not None:
            raise ValueError(fault)
        return uri


class AblationLevel(Spec):
    """One side of a comparison: its name in tables, and the settings that make it, by dotted names."""

    name: Annotated[str, Field(min_length=1)]
    settings: Annotated[dict[str, JsonValue], Field(min_length=1)]
    retuned: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings that were searched for this level alone before it was compared."""

    @property
    def whole(self) -> dict[str, JsonValue]:
        """Both: all in which it differs from the base."""
        return {**self.settings, **self.retuned}


class AblationStage(StrEnum):
    """What a designed experiment is for."""

    RETUNE = "retune"
    """To find settings for each level, on validation images."""
    COMPARE = "compare"
    """To compare the levels over seeds."""


class AblationSpec(Spec):
    """A designed experiment: every level with every seed. `adaptertune ablate` writes it."""

    of: Annotated[str, Field(min_length=1)]
    """The experiment that it starts from."""
    trial: Annotated[int, Field(ge=0)]
    """The trial there whose settings all levels share."""
    factor: Annotated[str, Field(min_length=1)]
    """What is varied: a setting, or a ready study's name."""
    levels: Annotated[tuple[AblationLevel, ...], Field(min_length=1)]
    reference: str
    """The level that the others are compared with."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]
    stage: AblationStage = AblationStage.COMPARE
    notes: tuple[str, ...] = ()
    """What a reader of the result must know of the design."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [level.name for level in self.levels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"levels must have different names, got {', '.join(twice)} more than once")
        if self.reference not in names:
            raise ValueError(f"reference must be one of the levels {', '.join(names)}, got {self.reference}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must differ: a seed that comes twice is the same trial")
        if self.pivot is None:
            raise ValueError("levels must differ in one setting that all of them name")
        return self

    @property
    def pivot(self) -> str | None:
        """The first setting whose value is another one at each level; a design that was read has one."""
        for name in self.levels[0].settings:
            values = [level.settings[name] for level in self.levels if name in level.settings]
            if len({config_hash({name: value}) for value in values}) == len(self.levels):
                return name
        return None


class Experiment(Spec):
    """One experiment. `trial` is nested as in `TrialConfig`; `space` has dotted names."""

    name: Annotated[str, Field(min_length=1)]
    task: Task
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec(embedded=EmbeddedData())
    objective: ObjectiveSpec
    trial: dict[str, JsonValue] = Field(default_factory=dict)
    space: Space = Space()
    search: SearchSpec = SearchSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    resources: ResourceSpec = ResourceSpec()
    scoring: ScoringSpec = ScoringSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    views: ViewsSpec = ViewsSpec()
    ablation: AblationSpec | None = None
    """What is compared, in a designed experiment."""
    retries: Annotated[int, Field(ge=0)] = 0
    """Times that a trial starts again, from its checkpoint, after its worker died."""
    source_text: str = ""
    """The file as it was read; not a key of the file."""

    @property
    def workload(self) -> Workload:
        """What all trials share."""
        return Workload(task=self.task, model=self.model, data=self.data, objective=self.objective)

    @property
    def max_epochs(self) -> int:
        """The most epochs that any trial runs."""
        if "epochs" in self.space.root:
            ends = [max(d.choice) if d.choice else d.highest for d in self.space.root["epochs"]]  # type: ignore[type-var]
            return int(max(ends))  # type: ignore[arg-type,type-var]
        given = self.trial.get("epochs", TrialConfig.model_fields["epochs"].default)
        assert isinstance(given, int)
        return given

    def settings(self, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """`trial` with `params` (by dotted names) on top, nested as in `TrialConfig`."""
        merged = copy.deepcopy(self.trial)
        for name, value in params.items():
            put(merged, name.split("."), value)
        return merged

    def trial_config(self, params: Mapping[str, JsonValue]) -> TrialConfig:
        """The configuration of a trial: defaults, then `trial`, then `params`.

        Raises ExperimentFileError where they do not fit together; parameters of a checked space do.
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
                f"{self.name}: {json.dumps(dict(params))} is no configuration: {reasons}"
            ) from error

    def require_space(self) -> None:
        """Raises ExperimentFileError where nothing is searched, which is enough for `train` alone."""
        if not self.space:
            raise ExperimentFileError(
                f"{self.name} has no `space`, so there is nothing to search; add one, "
                "or run its one configuration with `adaptertune train`"
            )

    def to_yaml(self, params: Mapping[str, JsonValue]) -> str:
        """An experiment file of one configuration, for `adaptertune train FILE`; paths in it are absolute."""
        from tuning.yaml_lines import to_yaml

        settings = self.settings(params)
        adapter = settings.get("adapter", Adapter.LORA.value)
        trial = {k: v for k, v in settings.items() if k not in SECTION_NAMES or k == adapter}
        document: dict[str, Any] = {"name": self.name, "task": self.task.value}
        for part in ("model", "data", "objective"):
            document[part] = getattr(self, part).model_dump(
                mode="json", exclude_defaults=True, exclude_none=True
            )
        if not document["model"]:
            del document["model"]
        return to_yaml(document | ({"trial": trial} if trial else {}))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A JSON Schema of the file, for completion in an editor."""
        from tuning.schema import file_schema

        return file_schema(cls)


def load_experiment(source: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, check and return an experiment.

    source: a YAML file, or the name of one that ships.  overrides: `key=value` with a dotted key and a
    YAML value, as `--set` takes them.  Raises ExperimentFileError with every fault.
    """
    from tuning.reading import read_experiment

    return read_experiment(source, overrides)


def put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a nested value, making the dictionaries on the way."""
    for part in path[:-1]:
        inner = into.get(part)
        if not isinstance(inner, dict):
            inner = into[part] = {}
        into = inner
    into[path[-1]] = value
