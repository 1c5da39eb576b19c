"""Designs an experiment that varies one factor: levels × seeds as values. No ray, no torch.

All levels share the settings of one finished trial, the base, and run to the end of its budget without
early stopping. A seed varies head, adapter and the order of the images alike at every level, so runs of
one seed are pairs; the images of each split are the same in all. The base was the best of many under its
own seed, so that seed is kept for retuning and is none of those compared.
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
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec
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
"""The setting that makes each adapter larger."""
WITH_FREEZING = ("freezing", "unfreeze_epoch", "frozen_blocks", "freeze_head")
"""Settings that go with some freezing modes only."""
OF_AN_ADAPTER = ("targets", "blocks")
"""Settings that only an adapter reads."""
PATIENCE = "early_stopping"
"""The section by which a trial ends itself."""
SEED = "seed"


class AblationError(AdaptertuneError):
    """A design that cannot be made, or a record that holds none."""


@dataclass(frozen=True)
class Base:
    """The trial that all levels share their settings with."""

    experiment: Experiment
    trial: int
    settings: Mapping[str, JsonValue]
    """By dotted names: what the file fixed and the search chose; defaults are left out."""
    config: TrialConfig
    seconds: float | None
    """What it took, had it run all its epochs; None where that is not known."""
    value: float | None
    """Its objective on validation images."""


def base_of(sweep: Sweep, number: int | None = None, *, having: str | None = None) -> Base:
    """Trial `number`, or the best of those that ran their whole budget.

    having: a setting that it must have, as `lora.rank`, or `adapter` for any adapter but none.
    Raises AblationError where no trial will do.
    """
    ranked = finished(sweep)
    able = [trial for trial, _ in ranked if having is None or _has(trial, having)]
    if number is not None:
        chosen = next((trial for trial in sweep.trials if trial.number == number), None)
        if chosen is None:
            there = len(sweep.trials)
            raise AblationError(f"{sweep.name} has no trial {number}; it has {there}, from 0 on")
        if having is not None and not _has(chosen, having):
            raise AblationError(
                f"trial {number} of {sweep.name} has adapter {chosen.adapter}, so {having} says nothing"
                f" there; leave the number out for the best trial that has {_wanted(having)}"
            )
    elif able:
        chosen = able[0]
    elif ranked:
        raise AblationError(
            f"no finished trial of {sweep.name} has {_wanted(having or '')}; vary a setting that one has"
        )
    else:
        raise AblationError(
            f"{sweep.name} has no trial that ran to its own end, so there is nothing to start from;"
            f" see `adaptertune status {sweep.name}`, or name one as {sweep.name}:NUMBER"
        )
    config = sweep.experiment.trial_config(dict(chosen.params))
    whole = chosen.seconds * config.epochs / chosen.ran if chosen.ran else None
    return Base(
        sweep.experiment,
        chosen.number,
        flat(sweep.experiment.settings(chosen.params)),
        config,
        whole,
        next((standing.value for trial, standing in ranked if trial is chosen), None),
    )


def finished(sweep: Sweep) -> tuple[tuple[Trial, Standing], ...]:
    """Best first; trials that were stopped saw less training, so none of them is a base."""
    return rank(sweep).ranked


def _has(trial: Trial, name: str) -> bool:
    if name == "adapter":
        return trial.adapter != Adapter.NONE
    return reads(name, trial.adapter)


def reads(name: str, adapter: JsonValue) -> bool:
    """Whether a trial with this adapter reads a setting: no adapter reads another's section."""
    section = name.split(".")[0]
    return section not in SECTION_NAMES or section == adapter


def _wanted(having: str) -> str:
    return "an adapter" if having == "adapter" else f"adapter {having.split('.')[0]}"


def flat(nested: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Settings by dotted names."""
    found: dict[str, JsonValue] = {}
    for key, value in nested.items():
        name = prefix + key
        known = find_setting(name)
        inside = known is not None and (known.kind is SettingKind.SECTION or name == "peft.arguments")
        if inside and isinstance(value, dict) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


# --- levels -----------------------------------------------------------------------------------


def adapter_of(level: AblationLevel, base: Base) -> JsonValue:
    """A level's own adapter, else the base's."""
    return level.settings.get("adapter", base.config.adapter.value)


def with_settings(level: AblationLevel, more: Mapping[str, JsonValue]) -> AblationLevel:
    """A level with some settings more, or others."""
    return level.model_copy(update={"settings": {**level.settings, **more}})


def over(name: str, values: Sequence[JsonValue]) -> tuple[AblationLevel, ...]:
    """A level for each value of one setting. Raises AblationError for no setting, or no value of it."""
    known = find_setting(name)
    if known is None:
        raise AblationError(f"--over {name}: {unknown_setting(name)}")
    if known.kind is SettingKind.SECTION:
        inside = ", ".join(f"{name}.{key}" for key in sorted(known.holds))
        raise AblationError(f"--over {name}: is a section; vary one of {inside}")
    if name == SEED:
        raise AblationError("--over seed: seeds are what every level is repeated over; use --seeds")
    if not values:
        raise AblationError(f"--over {name} needs --levels, such as --levels 4,8,16")
    for value in values:
        if misfits := known.violations(value, ()):
            raise AblationError(f"--levels {shown(value)}: {name} {misfits[0].rule}")
    levels = tuple(AblationLevel(name=shown(value), settings={name: value}) for value in values)
    names = [level.name for level in levels]
    if twice := [n for n in names if names.count(n) > 1]:
        raise AblationError(f"--levels names {twice[0]} twice; name each level once")
    return levels


def shown(value: JsonValue) -> str:
    """A level's name: 8, 0.001, frozen, query+value, [0,5]."""
    if isinstance(value, list):
        words = [shown(item) for item in value]
        return "+".join(words) if all(isinstance(v, str) for v in value) else f"[{','.join(words)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_scale(base: Base, factor: str, levels: Sequence[AblationLevel]) -> tuple[AblationLevel, ...]:
    """Levels of a rank with alpha in proportion, so that alpha/rank is the base's at each of them.

    Raises AblationError where the factor is no rank with an alpha.
    """
    section, _, leaf = factor.partition(".")
    alpha = f"{section}.alpha"
    if factor not in RANKS.values() or find_setting(alpha) is None:
        raise AblationError(
            f"--keep-scale goes with the rank of an adapter that has an alpha, not with {factor}"
        )
    own = base.config.section
    scale = own.alpha / getattr(own, leaf)
    return tuple(with_settings(level, {alpha: scale * float(_number(level, factor))}) for level in levels)


def _number(level: AblationLevel, name: str) -> float:
    value = level.settings[name]
    assert isinstance(value, int | float)
    return value


def reference_of(levels: Sequence[AblationLevel], base: Base, asked: str | None) -> str:
    """The level asked for, else the base's own, else the first. Raises AblationError for an unknown one."""
    names = [level.name for level in levels]
    if asked is not None:
        if asked not in names:
            raise AblationError(f"--reference {asked}: is no level; there are {', '.join(names)}")
        return asked
    own = flat(base.config.model_dump(mode="json"))
    own |= {"freezing": base.config.mode.value, "targets": [role.value for role in base.config.roles]}
    for level in levels:
        if all(same(own.get(name), value) for name, value in level.settings.items()):
            return level.name
    return names[0]


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are one: 4 and 4.0 are."""
    return config_hash({"": one}) == config_hash({"": other})


def has_patience(settings: Iterable[str]) -> bool:
    """Whether one of them, by dotted names, is of the section by which a trial ends itself."""
    return any(name.split(".")[0] == PATIENCE for name in settings)


def pivot_of(spec: AblationSpec) -> str:
    """The setting whose value is another one at each level, on which the other settings hang."""
    assert spec.pivot is not None
    return spec.pivot


def level_of(spec: AblationSpec, params: Mapping[str, JsonValue]) -> AblationLevel | None:
    """The level that a trial's parameters are of."""
    pivot = pivot_of(spec)
    if pivot not in params:
        return None
    return next((level for level in spec.levels if same(level.settings[pivot], params[pivot])), None)


def seeds_of(base: Base, count: int) -> tuple[int, ...]:
    """So many seeds, none of them the base's own."""
    first = base.config.seed + 1
    return tuple((first + i) % 2**31 for i in range(count))


# --- the plan ---------------------------------------------------------------------------------


def default_name(source: str, factor: str) -> str:
    """What an ablation of `source` is called."""
    return f"{source}-ablate-{factor}"


@dataclass(frozen=True)
class Plan:
    """What is about to run."""

    base: Base
    spec: AblationSpec
    retune: tuple[str, ...] = ()
    trials: int = 0
    """Retuning trials of each level."""
    called: str | None = None

    @property
    def name(self) -> str:
        """The experiment's, after source and factor where it was given none."""
        return self.called or default_name(self.spec.of, self.spec.factor)

    @property
    def runs(self) -> int:
        """Trials that are compared."""
        return len(self.spec.levels) * len(self.spec.seeds)

    @property
    def retuning_runs(self) -> int:
        """Trials before those, at most."""
        return len(self.spec.levels) * self.trials if self.retune else 0

    @property
    def seconds(self) -> float | None:
        """Training time of all trials at the base's pace, one after the other."""
        return None if self.base.seconds is None else self.base.seconds * (self.runs + self.retuning_runs)


def warnings_of(plan: Plan) -> Iterator[str]:
    """What the design leaves mixed up, or cannot show."""
    spec, base = plan.spec, plan.base
    if len(spec.levels) == 1:
        yield "a single level: its spread over seeds is measured, nothing is compared"
    if len(spec.seeds) == 1:
        yield "one seed: no spread is known, so nothing can be tested; three or more, such as --seeds 5"
    elif len(spec.seeds) == 2:
        yield "two seeds: only very large differences can be shown; --seeds 5 shows smaller ones"
    rated = "learning_rate" in plan.retune or any("learning_rate" in level.whole for level in spec.levels)
    if not rated and len(spec.levels) > 1:
        yield (
            f"all levels train at learning rate {base.config.learning_rate:g}, which the search chose for the"
            " base; --retune learning_rate chooses one for each"
        )
    section, _, leaf = pivot_of(spec).partition(".")
    alpha = getattr(base.config.section, "alpha", None)
    if pivot_of(spec) in RANKS.values() and alpha and f"{section}.alpha" not in spec.levels[0].settings:
        yield (
            f"alpha stays at {alpha:g}, so the scale alpha/{leaf} changes with the rank;"
            " --keep-scale keeps it"
        )
