"""The design of an experiment that varies one factor: levels × seeds, as values.

All levels share the settings of one finished trial, the base, and run its whole budget without early
stopping. A seed sets head, adapter and image order in the same way at every level, so runs with one seed
are pairs; the images of each split are the same in all runs. The base was selected as the best of many
under its own seed, so that seed is used for retuning and not for the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from analysis.query.sweep import Standing, Sweep, Trial
from analysis.ranking.best import rank
from trainables.errors import AdaptertuneError
from trainables.specs.adapters import Adapter
from trainables.specs.trial import TrialConfig
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec, AblationStage
from tuning.experiment.settings import SettingKind, find_setting, unknown_setting
from tuning.experiment.space import SECTION_NAMES, config_hash
from tuning.experiment.spec import Experiment

RANKS = {
    Adapter.LORA: "lora.rank",
    Adapter.ADALORA: "adalora.init_rank",
    Adapter.LOHA: "loha.rank",
    Adapter.LOKR: "lokr.rank",
    Adapter.SERIAL_LORA: "serial_lora.rank",
    Adapter.LOCALIZED_LORA: "localized_lora.block_rank",
}
"""The setting that determines the size of each adapter."""
WITH_FREEZING = ("freezing", "unfreeze_epoch", "frozen_blocks", "freeze_head")
"""Settings that apply to some freezing modes only."""
OF_AN_ADAPTER = ("targets", "blocks")
"""Settings that only an adapter reads."""
PATIENCE = "early_stopping"
"""The section with which a trial stops itself."""
SEED = "seed"
FOLD = "fold"
OF_A_RUN = (SEED, FOLD)
"""Settings in which the runs of a level differ."""


def of_level(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings that all runs of a level have."""
    return {name: value for name, value in settings.items() if name not in OF_A_RUN}


class AblationError(AdaptertuneError):
    """A design that cannot be made, or an experiment that is not an ablation."""


@dataclass(frozen=True)
class Base:
    """The trial that all levels take their settings from."""

    experiment: Experiment
    trial: int
    settings: Mapping[str, JsonValue]
    """By dotted names: those that the file fixed and the search chose, without defaults."""
    config: TrialConfig
    seconds: float | None
    """The training time of all its epochs, extrapolated if it ended earlier; None if unknown."""
    value: float | None
    """Its objective on validation images."""


def choose_base(sweep: Sweep, number: int | None = None, *, having: str | None = None) -> Base:
    """Trial `number`, or the best finished trial.

    having: a setting that it must have, such as `lora.rank`, or `adapter` for any adapter but none.
    Raises AblationError if no trial qualifies.
    """
    ranked = ranked_finished(sweep)
    able = [trial for trial, _ in ranked if having is None or _has(trial, having)]
    if number is not None:
        chosen = next((trial for trial in sweep.trials if trial.number == number), None)
        if chosen is None:
            there = plural(len(sweep.trials), "trial")
            raise AblationError(f"{sweep.name} has no trial {number}; it has {there}, numbered from 0")
        if having is not None and not _has(chosen, having):
            raise AblationError(
                f"trial {number} of {sweep.name} has adapter {chosen.adapter}, but {_wanted(having)} is"
                f" needed; omit the number to use the best trial with {_wanted(having)}"
            )
    elif able:
        chosen = able[0]
    elif ranked:
        raise AblationError(
            f"no finished trial of {sweep.name} has {_wanted(having or '')};"
            " vary a setting that a finished trial has"
        )
    else:
        raise AblationError(
            f"{sweep.name} has no finished trial to start from; see `adaptertune status {sweep.name}`,"
            f" or name a trial as {sweep.name}:NUMBER"
        )
    config = sweep.experiment.trial_config(dict(chosen.params))
    whole = chosen.seconds * config.epochs / chosen.ran if chosen.ran else None
    return Base(
        sweep.experiment,
        chosen.number,
        flatten_settings(sweep.experiment.settings(chosen.params)),
        config,
        whole,
        next((standing.value for trial, standing in ranked if trial is chosen), None),
    )


def ranked_finished(sweep: Sweep) -> tuple[tuple[Trial, Standing], ...]:
    """Finished trials, best first. Stopped trials trained less, so none of them can be a base."""
    return rank(sweep).ranked


def _has(trial: Trial, name: str) -> bool:
    if name == "adapter":
        return trial.adapter != Adapter.NONE
    return adapter_reads(name, trial.adapter)


def adapter_reads(name: str, adapter: JsonValue) -> bool:
    """Whether a trial with this adapter reads a setting; an adapter reads no section of another one."""
    section = name.split(".")[0]
    return section not in SECTION_NAMES or section == adapter


def _wanted(having: str) -> str:
    return "an adapter" if having == "adapter" else f"adapter {having.split('.')[0]}"


def flatten_settings(nested: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Nested settings by dotted names."""
    found: dict[str, JsonValue] = {}
    for key, value in nested.items():
        name = prefix + key
        known = find_setting(name)
        inside = known is not None and (known.kind is SettingKind.SECTION or name == "peft.arguments")
        if inside and isinstance(value, dict) and value:
            found |= flatten_settings(value, f"{name}.")
        else:
            found[name] = value
    return found


# --- levels -----------------------------------------------------------------------------------


def level_adapter(level: AblationLevel, base: Base) -> JsonValue:
    """The level's own adapter, or else the base's."""
    return level.settings.get("adapter", base.config.adapter.value)


def with_settings(level: AblationLevel, more: Mapping[str, JsonValue]) -> AblationLevel:
    """The level with additional or replaced settings."""
    return level.model_copy(update={"settings": {**level.settings, **more}})


def levels_over(name: str, values: Sequence[JsonValue]) -> tuple[AblationLevel, ...]:
    """A level for each value of one setting.

    Raises AblationError for an unknown setting or an invalid value.
    """
    known = find_setting(name)
    if known is None:
        raise AblationError(f"--over {name}: {unknown_setting(name)}")
    if known.kind is SettingKind.SECTION:
        inside = ", ".join(f"{name}.{key}" for key in sorted(known.holds))
        raise AblationError(f"--over {name}: is a section; vary one of {inside}")
    if name == SEED:
        raise AblationError("--over seed: every level is repeated over seeds anyway; use --seeds")
    if not values:
        raise AblationError(f"--over {name} needs --levels, such as --levels 4,8,16")
    for value in values:
        if misfits := known.violations(value, ()):
            raise AblationError(f"--levels {level_name(value)}: {name} {misfits[0].rule}")
    levels = tuple(AblationLevel(name=level_name(value), settings={name: value}) for value in values)
    names = [level.name for level in levels]
    if twice := [n for n in names if names.count(n) > 1]:
        raise AblationError(f"--levels names {twice[0]} twice; name each level once")
    return levels


def level_name(value: JsonValue) -> str:
    """The name of a level by its value: `8`, `0.001`, `frozen`, `query+value`, `[0,5]`."""
    if isinstance(value, list):
        names = [level_name(item) for item in value]
        return "+".join(names) if all(isinstance(v, str) for v in value) else f"[{','.join(names)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_scale(base: Base, factor: str, levels: Sequence[AblationLevel]) -> tuple[AblationLevel, ...]:
    """Levels of a rank with alpha in proportion, so that alpha/rank is the base's at each level.

    Raises AblationError if the factor is not a rank with an alpha.
    """
    section, _, leaf = factor.partition(".")
    alpha = f"{section}.alpha"
    if factor not in RANKS.values() or find_setting(alpha) is None:
        raise AblationError(
            f"--keep-scale applies to the rank of an adapter that has an alpha, not to {factor}"
        )
    own = base.config.section
    scale = own.alpha / getattr(own, leaf)
    return tuple(with_settings(level, {alpha: scale * float(_number(level, factor))}) for level in levels)


def _number(level: AblationLevel, name: str) -> float:
    value = level.settings[name]
    assert isinstance(value, int | float)
    return value


def reference_of(levels: Sequence[AblationLevel], base: Base, asked: str | None) -> str:
    """The requested level, else the base's own, else the first. Raises AblationError for an unknown one."""
    names = [level.name for level in levels]
    if asked is not None:
        if asked not in names:
            raise AblationError(f"--reference {asked}: is not a level; the levels are {', '.join(names)}")
        return asked
    own = flatten_settings(base.config.model_dump(mode="json"))
    own |= {"freezing": base.config.mode.value, "targets": [role.value for role in base.config.roles]}
    for level in levels:
        if all(same_value(own.get(name), value) for name, value in level.settings.items()):
            return level.name
    return names[0]


def same_value(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are equal, as 4 and 4.0 are."""
    return config_hash({"": one}) == config_hash({"": other})


def has_patience(settings: Iterable[str]) -> bool:
    """Whether one of the settings, by dotted names, is in the section with which a trial stops itself."""
    return any(name.split(".")[0] == PATIENCE for name in settings)


def pivot_of(spec: AblationSpec) -> str:
    """The setting with a different value at each level; the other settings depend on it."""
    assert spec.pivot is not None
    return spec.pivot


def level_of(spec: AblationSpec, params: Mapping[str, JsonValue]) -> AblationLevel | None:
    """The level that a trial's parameters belong to."""
    if spec.stage is AblationStage.CONFIRM:
        key = config_hash(of_level(params))
        return next((level for level in spec.levels if config_hash(level.settings) == key), None)
    pivot = pivot_of(spec)
    if pivot not in params:
        return None
    return next((level for level in spec.levels if same_value(level.settings[pivot], params[pivot])), None)


def seeds_of(base: Base, count: int) -> tuple[int, ...]:
    """`count` seeds, none of them the base's own."""
    first = base.config.seed + 1
    return tuple((first + i) % 2**31 for i in range(count))


# --- the plan ---------------------------------------------------------------------------------


def default_name(source: str, factor: str) -> str:
    """The default name of an ablation of `source`."""
    return f"{source}-ablate-{factor}"


@dataclass(frozen=True)
class Plan:
    """An ablation that is about to run."""

    base: Base
    spec: AblationSpec
    retune: tuple[str, ...] = ()
    trials: int = 0
    """Retuning trials at each level."""
    called: str | None = None

    @property
    def name(self) -> str:
        """The name of the experiment; by default made of source and factor."""
        return self.called or default_name(self.spec.of, self.spec.factor)

    @property
    def runs(self) -> int:
        """The number of trials that are compared."""
        return len(self.spec.levels) * len(self.spec.seeds)

    @property
    def retuning_runs(self) -> int:
        """The maximum number of retuning trials before them."""
        return len(self.spec.levels) * self.trials if self.retune else 0

    @property
    def seconds(self) -> float | None:
        """The training time of all trials at the base's speed, one after the other."""
        return None if self.base.seconds is None else self.base.seconds * (self.runs + self.retuning_runs)


def warnings_of(plan: Plan) -> Iterator[str]:
    """Confounders of the design, and what it cannot show."""
    spec, base = plan.spec, plan.base
    if len(spec.levels) == 1:
        yield "a single level: its variance over seeds is measured, but nothing is compared"
    if len(spec.seeds) == 1:
        yield "one seed: the variance is unknown, so nothing can be tested; use three or more, as --seeds 5"
    elif len(spec.seeds) == 2:
        yield "two seeds: only very large differences can be significant; --seeds 5 detects smaller ones"
    rated = "learning_rate" in plan.retune or any("learning_rate" in level.whole for level in spec.levels)
    if not rated and len(spec.levels) > 1:
        yield (
            f"all levels train at learning rate {base.config.learning_rate:g}, which the search chose for the"
            " base; --retune learning_rate tunes it for each level"
        )
    section, _, leaf = pivot_of(spec).partition(".")
    alpha = getattr(base.config.section, "alpha", None)
    if pivot_of(spec) in RANKS.values() and alpha and f"{section}.alpha" not in spec.levels[0].settings:
        yield (
            f"alpha stays at {alpha:g}, so the scale alpha/{leaf} changes with the rank;"
            " --keep-scale keeps it constant"
        )
