"""Predefined ablations of rank, freezing, adapters, targets and data: their levels, as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue, ValidationError

from analysis.ablation.design import (
    RANKS,
    WITH_FREEZING,
    AblationError,
    Base,
    adapter_reads,
    flatten_settings,
    level_adapter,
    level_name,
    levels_over,
    ranked_finished,
    with_settings,
)
from analysis.ablation.study_names import StudyName
from analysis.query.sweep import Sweep, Trial
from trainables.adapters.rules import check_adapter_fits
from trainables.errors import AdapterError
from trainables.specs.adapters import TRAINS_BACKBONE, WITHOUT_ADAPTER, Adapter, Freezing
from trainables.specs.trial import TrialConfig
from trainables.wording import plural
from tuning.experiment.checks.combinations import shape_of
from tuning.experiment.dotted import put_nested
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec

Count = Callable[[TrialConfig], int]
"""The number of weights that the adapter of a configuration trains."""

TOO_LARGE = 2**62
"""The assumed number of weights at a rank that the model does not accept."""
LARGEST = 4096
"""The largest rank that a configuration accepts."""
FAR = 0.1
"""A number of parameters that is off by more than this share gets a note."""
SHARES = (0.1, 0.25, 0.5, 1.0)
TARGETS = (
    ("query", "value"),
    ("query", "key", "value"),
    ("query", "key", "value", "output"),
    ("mlp",),
    ("query", "key", "value", "output", "mlp"),
)
NEEDS = {StudyName.RANK: "adapter", StudyName.FREEZING: "adapter", StudyName.TARGETS: "adapter"}
"""What the base of a study must have."""


def levels_of(
    study: StudyName,
    base: Base,
    sweep: Sweep,
    values: Sequence[JsonValue] | None,
    begun: AblationSpec | None = None,
) -> tuple[AblationLevel, ...]:
    """The levels of a predefined study; `values` replace its default values.

    Default levels that the model does not accept are left out. begun: see `families_of`.
    Raises AblationError for a value that the study does not accept.
    """
    match study:
        case StudyName.RANK:
            return _ranks(base, values)
        case StudyName.FREEZING:
            found = _freezing(base, values)
        case StudyName.ADAPTERS:
            found = _adapters(base, sweep, values, begun)
        case StudyName.TARGETS:
            found = levels_over("targets", values or [list(roles) for roles in TARGETS])
        case StudyName.DATA:
            found = levels_over("train_fraction", values or SHARES)
    return found if values else tuple(level for level in found if not level_violation(level, base))


def _ranks(base: Base, values: Sequence[JsonValue] | None) -> tuple[AblationLevel, ...]:
    name = RANKS.get(base.config.adapter)
    if name is None:
        raise AblationError(
            f"trial {base.trial} has adapter {base.config.adapter}, which has no rank; vary one of its"
            " settings with --over SETTING --levels VALUES"
        )
    own = int(getattr(base.config.section, name.split(".")[1]))
    around = sorted({max(1, min(LARGEST, round(own * by))) for by in (0.25, 0.5, 1, 2, 4)})
    levels = levels_over(name, list(values or around))
    if base.config.adapter is not Adapter.ADALORA:
        return levels
    share = base.config.section.target_rank / own
    return tuple(
        with_settings(level, {"adalora.target_rank": max(1, round(share * _whole(level.settings[name])))})
        for level in levels
    )


def _freezing(base: Base, values: Sequence[JsonValue] | None) -> tuple[AblationLevel, ...]:
    """Modes without an adapter get none, the others the base's. Freezing options stay where they apply."""
    chosen = levels_over("freezing", values or [mode.value for mode in Freezing])
    config = base.config
    needing = [level.name for level in chosen if Freezing(level.name) not in WITHOUT_ADAPTER]
    if config.adapter is Adapter.NONE and needing:
        raise AblationError(
            f"trial {base.trial} has no adapter, and {needing[0]} needs one; start from a trial that has one"
        )
    levels = []
    for level in chosen:
        mode = Freezing(level.name)
        adapter = "none" if mode in WITHOUT_ADAPTER else config.adapter.value
        levels.append(with_settings(level, {"adapter": adapter, **_extras(mode, config)}))
    return tuple(levels)


def _extras(mode: Freezing, config: TrialConfig) -> dict[str, JsonValue]:
    """The freezing options of a configuration that this mode accepts."""
    more: dict[str, JsonValue] = {}
    if mode is Freezing.UNFREEZE_AT:
        more["unfreeze_epoch"] = config.unfreeze_epoch or max(1, config.epochs // 2)
    if mode in TRAINS_BACKBONE and config.frozen_blocks:
        more["frozen_blocks"] = config.frozen_blocks
    if mode not in WITHOUT_ADAPTER and config.freeze_head:
        more["freeze_head"] = True
    return more


def _adapters(
    base: Base, sweep: Sweep, values: Sequence[JsonValue] | None, begun: AblationSpec | None
) -> tuple[AblationLevel, ...]:
    """Each family with the settings of its best finished trial in the sweep, or else with its defaults."""
    families = [a.value for a in RANKS]
    own = base.config.adapter.value
    if own == Adapter.PEFT:
        families.append(own)
    levels = []
    for level in levels_over("adapter", values or families):
        family = Adapter(level.name)
        if family is Adapter.NONE:
            raise AblationError("--levels none: it has no parameters to match; --study freezing compares it")
        if family is Adapter.PEFT and family != own:
            raise AblationError("--levels peft: the base must have adapter peft, which gives the method")
        levels.append(level)
    return families_of(levels, base, sweep, begun)


def families_of(
    levels: Sequence[AblationLevel], base: Base, sweep: Sweep, begun: AblationSpec | None = None
) -> tuple[AblationLevel, ...]:
    """Levels of `adapter`, each with the settings of the family's best finished trial in the sweep, if any.

    A level gets a freezing mode that fits it if the base's does not. begun: the design of a started
    ablation; its families keep the settings that they started with, even if the search has continued.
    """
    known = {} if begun is None else {level.name: level.settings for level in begun.levels}
    best: dict[str, Trial] = {}
    for trial, _ in ranked_finished(sweep):
        best.setdefault(trial.adapter, trial)
    return _with_fitting_freezing(
        [
            with_settings(level, _of(level.name, known[level.name]))
            if level.name in known
            else with_settings(level, _section(Adapter(level.name), base, sweep, best.get(level.name)))
            for level in levels
        ],
        base,
    )


def _of(family: str, settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings in a family's own section."""
    return {name: value for name, value in settings.items() if name.split(".")[0] == family}


def _section(family: Adapter, base: Base, sweep: Sweep, best: Trial | None) -> dict[str, JsonValue]:
    """The settings of a family for its level. best: its best finished trial, if any."""
    found = base.settings
    if family is not base.config.adapter:
        found = {} if best is None else flatten_settings(sweep.experiment.settings(best.params))
    return _of(family.value, found)


def _with_fitting_freezing(levels: Sequence[AblationLevel], base: Base) -> tuple[AblationLevel, ...]:
    mode = base.config.mode
    if all((level.settings.get("adapter") == Adapter.NONE) == (mode in WITHOUT_ADAPTER) for level in levels):
        return tuple(levels)
    backbone = mode in TRAINS_BACKBONE
    fitting = {
        True: Freezing.FULL if backbone else Freezing.HEAD_ONLY,
        False: Freezing.UNFROZEN if backbone else Freezing.FROZEN,
    }
    fitting[mode in WITHOUT_ADAPTER] = mode
    found = []
    for level in levels:
        own = fitting[level.settings.get("adapter") == Adapter.NONE]
        found.append(with_settings(level, {"freezing": own.value, **_extras(own, base.config)}))
    return tuple(found)


def level_violation(level: AblationLevel, base: Base) -> str | None:
    """Why a level is invalid or does not fit the model, as far as known without loading it; None if valid."""
    try:
        config = config_of(level, base)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    shape = shape_of(base.experiment.model, base.experiment.task)
    violations = check_adapter_fits(config, shape.hidden or 0, shape.blocks, inner=shape.inner)
    return violations[0] if violations else None


def config_of(level: AblationLevel, base: Base) -> TrialConfig:
    """The configuration of a level. Raises ValidationError if it is invalid."""
    adapter = level_adapter(level, base)
    given = {n: v for n, v in base.settings.items() if adapter_reads(n, adapter)}
    if "freezing" in level.settings:
        given = {n: v for n, v in given.items() if n not in WITH_FREEZING}
    nested: dict[str, JsonValue] = {}
    for name, value in {**given, **level.whole}.items():
        put_nested(nested, name.split("."), value)
    return TrialConfig.model_validate_json(json.dumps(nested))


# --- equal parameters -------------------------------------------------------------------------


def at_equal_parameters(
    levels: Sequence[AblationLevel], base: Base, count: Count, *, leave_out: bool = False
) -> tuple[tuple[AblationLevel, ...], tuple[str, ...]]:
    """Each level at the rank that comes closest to the base's number of adapter weights, and notes on that.

    alpha changes in proportion to the rank, so that each family keeps its scale.
    leave_out: drops levels that do not fit the model, with a note.  Raises AblationError if a level's
    adapter has no rank or, without `leave_out`, does not fit, and if the factor is the rank itself.
    """
    varied = {name for level in levels if "adapter" not in level.settings for name in level.settings}
    if varied & set(RANKS.values()):
        raise AblationError("--at-equal-parameters: the design varies the rank itself; use one or the other")
    target = count(base.config)
    if not target:
        raise AblationError(
            f"trial {base.trial} has no adapter, so there is no number of parameters to match;"
            " start from a trial that has one"
        )
    # Notes are part of the recorded design, which must be the same when the command runs again.
    found, notes = [], []
    for level in levels:
        try:
            matched, weights = _nearest(level, base, count, target)
        except AdapterError as error:
            if not leave_out:
                raise AblationError(f"level {level.name}: {error}") from error
            notes.append(f"{level.name}: left out, {error}")
            continue
        found.append(matched)
        off = weights / target - 1
        far = ", and no rank comes nearer: not at equal parameters" if abs(off) > FAR else ""
        notes.append(f"{level.name}: {plural(weights, 'adapter parameter')}, {off:+.1%} off {target:,}{far}")
    return tuple(found), tuple(notes)


def _nearest(level: AblationLevel, base: Base, count: Count, target: int) -> tuple[AblationLevel, int]:
    config = config_of(level, base)
    name = RANKS.get(config.adapter)
    if name is None:
        raise AblationError(
            f"level {level.name}: adapter {config.adapter} has no rank to match {target:,} parameters with;"
            " remove --at-equal-parameters or this level"
        )
    known: dict[int, int] = {}

    def weights(rank: int) -> int:
        if rank not in known:
            try:
                known[rank] = count(config_of(_at_rank(level, config, name, rank), base))
            except AdapterError:
                if rank == 1:  # it is not the rank that does not fit
                    raise
                known[rank] = TOO_LARGE
        return known[rank]

    weights(1)
    low, high = 1, 2
    while high < LARGEST and weights(high) < target and weights(high) > weights(low):
        low, high = high, 2 * high
    while high - low > 1:  # the number of weights grows with the rank
        middle = (low + high) // 2
        low, high = (middle, high) if weights(middle) < target else (low, middle)
    rank = min((low, high), key=lambda r: (abs(weights(r) - target), r))
    return _at_rank(level, config, name, rank), weights(rank)


def _at_rank(level: AblationLevel, config: TrialConfig, name: str, rank: int) -> AblationLevel:
    section, _, leaf = name.partition(".")
    own = config.section
    before = int(getattr(own, leaf))
    more: dict[str, JsonValue] = {name: rank}
    if hasattr(own, "alpha"):
        # Exactly alpha at the base's own rank: rounding would make a different design of a started one.
        more[f"{section}.alpha"] = own.alpha if rank == before else own.alpha * rank / before
    if config.adapter is Adapter.ADALORA:
        more["adalora.target_rank"] = max(1, round(own.target_rank * rank / before))
    return with_settings(level, more)


def _whole(value: JsonValue) -> int:
    assert isinstance(value, int)
    return value


def describe_level(level: AblationLevel) -> str:
    """The settings of a level on one line, without the setting that gives it its name."""
    rest = {n: v for n, v in level.whole.items() if level_name(v) != level.name}
    return "  ".join(f"{name}={level_name(value)}" for name, value in rest.items())
