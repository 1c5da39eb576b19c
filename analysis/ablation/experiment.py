"""The experiments of a design: the comparison of levels × seeds, and the retuning of each level before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from analysis.ablation.design import (
    FOLD,
    SEED,
    WITH_FREEZING,
    AblationError,
    Base,
    adapter_reads,
    flatten_settings,
    has_patience,
    level_adapter,
    level_of,
    pivot_of,
    ranked_finished,
    same_value,
)
from analysis.query.sweep import Sweep
from trainables.specs.workload import ValueRule
from tuning.experiment.alternative import Alternative
from tuning.experiment.load import experiment_of_text
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec, AblationStage
from tuning.experiment.sections.scoring import Scored
from tuning.experiment.settings import SettingKind, find_setting, unknown_setting
from tuning.experiment.space import SECTION_NAMES, config_hash
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.yaml_lines import dump_yaml

AROUND = 10.0
"""A number that was not searched is retuned from its value divided by this to its value times this."""


def comparison_experiment(base: Base, spec: AblationSpec, name: str) -> Experiment:
    """The experiment that runs every level with every seed, seed by seed.

    Raises ExperimentFileError for an invalid level.
    """
    space: dict[str, JsonValue] = {SEED: {"choice": list(spec.seeds)}, **_space(spec)}
    return _experiment(base, spec, name, space, {"grid": {}}, {})


def retuning_experiment(
    base: Base, spec: AblationSpec, name: str, names: Sequence[str], trials: int
) -> Experiment:
    """The experiment that tries the same `trials` values of `names` at every level, under the base's seed.

    Raises AblationError for a setting that cannot be retuned.
    """
    domains = {each: _range(base, spec, each) for each in names}
    drawn = spread_points(domains, trials, base.settings)
    first: list[JsonValue] = []
    for i in range(len(drawn)):  # one value at all levels, then the next: comparable if interrupted
        for level in spec.levels:
            values = {n: v for n, v in drawn[i].items() if _applies(n, level, base)}
            params: dict[str, JsonValue] = {**level.whole, **values}
            if params not in first:
                first.append(params)
    space = _space(spec)
    pivot = pivot_of(spec)
    for each in names:
        choice = list({config_hash({"": d[each]}): d[each] for d in drawn}.values())
        domain: dict[str, JsonValue] = {"choice": choice}
        able = [level.settings[pivot] for level in spec.levels if _applies(each, level, base)]
        if len(able) < len(spec.levels) and not (pivot == "adapter" and each.split(".")[0] in SECTION_NAMES):
            domain["when"] = {pivot: able}
        space[each] = domain
    search: dict[str, JsonValue] = {"random": {}, "first": first, "trials": len(first)}
    stage = spec.model_copy(update={"stage": AblationStage.RETUNE, "seeds": (base.config.seed,)})
    return _experiment(base, stage, name, space, search, {SEED: base.config.seed})


def _experiment(
    base: Base,
    spec: AblationSpec,
    name: str,
    space: Mapping[str, JsonValue],
    search: Mapping[str, JsonValue],
    fixed: Mapping[str, JsonValue],
) -> Experiment:
    trial = {n: v for n, v in base.settings.items() if n not in space and _is_used(n, spec, base)}
    trial = {n: v for n, v in trial.items() if n != SEED} | dict(fixed)
    if "freezing" in space:  # the levels set what applies to some modes only
        trial = {n: v for n, v in trial.items() if n not in WITH_FREEZING}
    if not has_patience(space):  # otherwise runs of one comparison would have different budgets
        trial = {n: v for n, v in trial.items() if not has_patience([n])}
    return designed_experiment(base.experiment, spec, name, trial=trial, space=space, search=search)


def designed_experiment(
    of: Experiment,
    spec: AblationSpec,
    name: str,
    *,
    trial: Mapping[str, JsonValue],
    space: Mapping[str, JsonValue],
    search: Mapping[str, JsonValue],
) -> Experiment:
    """The experiment of a design, with the data, model and resources of the one that it starts from."""
    own = ("name", "trial", "space", "search", "scheduler", "scoring", "confirm", "ablation")
    # It measures: it weighs nothing, so it has one objective and no constraints.
    apart = {*own, *NOT_IN_FILES, "constraints"}
    parts = of.model_dump(mode="json", exclude=apart, exclude_defaults=True, exclude_none=True)
    # Folds are judged on what they did not train on; of the test images, they would share too much.
    ending = Scored.EACH if spec.stage.compares and spec.folds is None else Scored.NONE
    if spec.folds is not None:
        splits = parts["data"].get("splits", {}) | {"folds": spec.folds}
        parts["data"]["splits"] = {key: value for key, value in splits.items() if key != FOLD}
        parts["objective"]["value"] = ValueRule.LAST.value
    document = {
        "name": name,
        **{key: part for key, part in parts.items() if part != {}},
        "trial": trial,
        "space": space,
        "search": search,
        "scheduler": "none",
        "scoring": {"trials": ending.value},
        "ablation": spec.model_dump(mode="json"),
    }
    return experiment_of_text(dump_yaml(document), name)


def _is_used(name: str, spec: AblationSpec, base: Base) -> bool:
    """Whether any level reads a setting of the base; none does if all levels have other adapters."""
    return any(adapter_reads(name, level_adapter(level, base)) for level in spec.levels)


def _space(spec: AblationSpec) -> dict[str, JsonValue]:
    """The levels as a search space without any other configuration, in the form of an experiment file."""
    pivot = pivot_of(spec)
    space: dict[str, JsonValue] = {pivot: {"choice": [level.settings[pivot] for level in spec.levels]}}
    others = dict.fromkeys(n for level in spec.levels for n in level.whole if n != pivot)
    for name in others:
        values: dict[str, tuple[JsonValue, list[JsonValue]]] = {}
        for level in spec.levels:
            settings = level.whole
            if name in settings:
                value = settings[name]
                values.setdefault(config_hash({"": value}), (value, []))[1].append(level.settings[pivot])
        everywhere = len(values) == 1 and len(next(iter(values.values()))[1]) == len(spec.levels)
        # A parameter of an adapter's section exists only with that adapter, so it needs no condition.
        own = pivot == "adapter" and name.split(".")[0] in SECTION_NAMES
        domains: list[JsonValue] = [
            {"choice": [value]} if everywhere or own else {"choice": [value], "when": {pivot: at}}
            for value, at in values.values()
        ]
        space[name] = domains[0] if len(domains) == 1 else domains
    return space


# --- retuning ---------------------------------------------------------------------------------


def with_retuned_values(sweep: Sweep, spec: AblationSpec, names: Sequence[str]) -> AblationSpec:
    """The levels with the best values of `names`, on validation images, from a finished retuning.

    Raises AblationError if no trial of a level has a value.
    """
    found: dict[str, dict[str, JsonValue]] = {}
    for trial, _ in ranked_finished(sweep):  # best first
        level = level_of(spec, trial.params)
        if level is not None and level.name not in found:
            found[level.name] = {name: trial.params[name] for name in names if name in trial.params}
    if lost := [level.name for level in spec.levels if level.name not in found]:
        raise AblationError(
            f"{sweep.name}: no trial of level {', '.join(lost)} has a value, so it cannot be retuned;"
            f" see `adaptertune status {sweep.name}`"
        )
    levels = tuple(level.model_copy(update={"retuned": found[level.name]}) for level in spec.levels)
    return spec.model_copy(update={"levels": levels})


def with_recorded_values(
    begun: AblationSpec, spec: AblationSpec, names: Sequence[str], base: Base
) -> AblationSpec | None:
    """`spec` with the retuned values of `names` that a started comparison recorded.

    None if it recorded none, or values of other settings.
    """
    known = {level.name: level.retuned for level in begun.levels}
    for level in spec.levels:
        wanted = {name for name in names if _applies(name, level, base)}
        if level.name in known and known[level.name].keys() != wanted:
            return None
    levels = tuple(level.model_copy(update={"retuned": known.get(level.name, {})}) for level in spec.levels)
    return spec.model_copy(update={"levels": levels})


def _applies(name: str, level: AblationLevel, base: Base) -> bool:
    return adapter_reads(name, level_adapter(level, base))


def _range(base: Base, spec: AblationSpec, name: str) -> Alternative:
    """The range in which a setting is retuned: its search domain, or else around the base's value."""
    known = find_setting(name)
    if known is None:
        raise AblationError(f"--retune {name}: {unknown_setting(name)}")
    if name == SEED or any(name in level.settings for level in spec.levels):
        raise AblationError(f"--retune {name}: the levels differ in this setting; retune another one")
    space = base.experiment.space
    if name in space.root:
        domain = space.root[name][space.active(name, base.settings) or 0]
        return domain.scaled(base.experiment.scales(base.settings).get(name, 1.0))
    value = base.settings.get(name, flatten_settings(base.config.model_dump(mode="json")).get(name))
    if (
        known.kind is not SettingKind.REAL
        or isinstance(value, bool)
        or not isinstance(value, int | float)
        or value <= 0
    ):
        raise AblationError(
            f"--retune {name}: was not searched in {base.experiment.name}, and the base has no positive"
            f" number to search around; searched were {', '.join(space.names)}"
        )
    return Alternative.model_validate({"float": (value / AROUND, value * AROUND), "log": True})


def spread_points(
    domains: Mapping[str, Alternative], count: int, own: Mapping[str, JsonValue]
) -> list[dict[str, JsonValue]]:
    """Up to `count` different points, spread evenly over the domains, the base's own among them.

    One domain: even steps. Several domains: the Sobol sequence, scrambled with a fixed seed.
    """
    if len(domains) == 1:
        places = [[(i + 0.5) / count] for i in range(count)]
    else:
        from scipy.stats import qmc

        places = (
            qmc.Sobol(len(domains), seed=0).random_base2(max(1, (count - 1).bit_length())).tolist()[:count]
        )
    points = [
        {name: _at(domain, u) for (name, domain), u in zip(domains.items(), place, strict=True)}
        for place in places
    ]
    inside = all(name in own and domain.match(own[name]) for name, domain in domains.items())
    if inside:  # replaces the nearest point of the first domain
        name, domain = next(iter(domains.items()))
        order = sorted(range(count), key=lambda i: abs(places[i][0] - _place(domain, own[name])))
        points[order[0]] = {name: own[name] for name in domains}
    return list({config_hash(point): point for point in points}.values())


def _at(domain: Alternative, u: float) -> JsonValue:
    """The value with a share `u` of the domain below it."""
    if domain.log:
        low, high = (math.log(end) for end in domain.span)
        value = math.exp(low + u * (high - low))
        return round(value) if domain.whole else float(f"{value:.4g}")
    if domain.size is not None:
        return domain.at(min(domain.size - 1, int(u * domain.size)))
    low, high = domain.span
    return float(f"{low + u * (high - low):.4g}")


def _place(domain: Alternative, value: JsonValue) -> float:
    """The share of the domain below a value in it."""
    if domain.choice is not None:
        return next(i for i, v in enumerate(domain.choice) if same_value(v, value)) / len(domain.choice)
    assert isinstance(value, int | float)
    low, high = domain.span
    if low == high:
        return 0.0
    if domain.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
