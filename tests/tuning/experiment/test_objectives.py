"""Several objectives and constraints in the file: what is read, and every error with its whole message."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from malformed import VALID, Case, case, label, lines_of, loaded

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.goals import Goal, Goals, dominates, signed
from tuning.experiment.json_schema import experiment_schema
from tuning.experiment.spec import Experiment
from tuning.experiment.write import document_of
from tuning.experiment.yaml_lines import dump_yaml, read_yaml

SHIFTED = "data: {embedded: {}, domains: {far: {embedded: noisy}}}"
TWO = "objective: [{metric: dice}, {metric: parameters}]"
LIMITED = "objective: {metric: dice}\nconstraints: {peak_mb: {at_most: 8000}}"
NUMBERS = "space: {learning_rate: {float: [1e-4, 1e-2]}}"

CASES = [
    case(
        "line 3  objective[2].metric  names 'dice' a second time; name each metric once",
        objective="objective: [{metric: dice}, {metric: parameters}, {metric: dice}]",
    ),
    case(
        "line 3  objective[1].metric  segmentation has no metric 'paramters'; did you mean 'parameters'?",
        objective="objective: [{metric: dice}, {metric: paramters}]",
    ),
    case(
        "line 3  objective[1].metric  segmentation has no metric 'speed'; it has dice, iou, soft_dice, loss, dice_with_background, iou_with_background, dice_worst, iou_worst, dice/CLASS, iou/CLASS, and the costs parameters, macs, peak_mb, latency_ms",
        objective="objective: [{metric: dice}, {metric: speed}]",
    ),
    case(
        "line 3  objective.metric  is parameters, a cost, which a model that learns nothing may win; the first objective must be a metric on validation images: objective: [{metric: dice}, {metric: parameters}]",
        objective="objective: {metric: parameters}",
    ),
    case(
        "line 3  objective[0].metric  is macs, a cost, which a model that learns nothing may win; the first objective must be a metric on validation images: objective: [{metric: dice}, {metric: macs}]",
        objective="objective: [{metric: macs}, {metric: dice}]",
    ),
    case(
        "line 3  objective[1].mode  latency_ms is better when smaller; use min or leave mode out",
        objective="objective: [{metric: dice}, {metric: latency_ms, mode: max}]",
    ),
    case(
        "line 8  search.gp  cannot take several objectives: its Gaussian process models one value; use tpe or nsga2",
        objective=TWO,
        search="search: {gp: {}, trials: 3, from: [old]}",
    ),
    case(
        "line 3  objective[1].mode  parameters is better when smaller; use min or leave mode out",
        objective="objective: [{metric: dice}, {metric: parameters, mode: max}]",
    ),
    case(
        "line 3  objective[1].mode  iou is better when larger; use max or leave mode out",
        objective="objective: [{metric: dice}, {metric: iou, mode: min}]",
    ),
    case(
        "line 3  objective[1].value  belongs to the first objective: all values of a trial are those of one report",
        objective="objective: [{metric: dice}, {metric: iou, value: last}]",
    ),
    case(
        "line 3  objective[1].metric  is measured in a shifted domain, but the data has none; add one, such as data.domains: {blurred: {corruption: {kind: blur}}}",
        objective="objective: [{metric: dice}, {metric: dice@far}]",
    ),
    case(
        "line 3  objective[1].metric  is missing; add it",
        "line 3  objective[1].metrc   unknown key; did you mean 'metric'?",
        objective="objective: [{metric: dice}, {metrc: iou}]",
    ),
    case(
        "line 3  objective  is missing; name the metric to optimise, such as objective: {metric: dice}",
        objective="objective: []",
    ),
    case(
        "line 4  constraints.peak_mbb  segmentation has no metric 'peak_mbb'; did you mean 'peak_mb'?",
        objective="objective: {metric: dice}\nconstraints: {peak_mbb: {at_most: 8000}}",
    ),
    case(
        "line 4  constraints.peak_mb.at_mst  unknown key; did you mean 'at_most'?",
        objective="objective: {metric: dice}\nconstraints: {peak_mb: {at_mst: 8000}}",
    ),
    case(
        "line 4  constraints.peak_mb        needs exactly one of at_most and at_least, got none",
        "line 4  constraints.dice.at_least  must be a finite number, got inf",
        "line 4  constraints.iou            needs exactly one of at_most and at_least, got both",
        objective="objective: {metric: dice}\nconstraints: {peak_mb: {}, dice: {at_least: .inf}, iou: {at_most: 1, at_least: 0.5}}",
    ),
    case(
        "line 4  constraints  must be a mapping, got [3]",
        objective="objective: {metric: dice}\nconstraints: [3]",
    ),
    case(
        "line 7  search.cmaes  cannot take constraints: it orders trials by one value; use tpe or nsga2",
        objective=LIMITED,
        space=NUMBERS,
        search="search: {cmaes: {}, trials: 3}",
    ),
    case(
        "line 9  search.optuna  cannot be told constraints; use tpe or nsga2, or leave constraints out",
        objective=LIMITED,
        search="search: {optuna: {sampler: TPESampler}, trials: 3}",
    ),
    case(
        "line 9  scheduler.dominance  compares several objectives, and there is one; list more under objective, or use asha",
        scheduler="scheduler: {dominance: {}}",
    ),
    case(
        "line 9  scheduler.dominance.reduction_factor  must be at least 1.1, got 1",
        objective=TWO,
        scheduler="scheduler: {dominance: {reduction_factor: 1}}",
    ),
    case(
        "--set  objective.metric  is in a list of objectives; give its place, as in objective[0].metric",
        objective=TWO,
        overrides=("objective.metric=iou",),
    ),
]  # fmt: skip


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def text_with(**parts: str) -> str:
    return "\n".join((VALID | parts).values()) + "\n"


def whole(folder: Path) -> Experiment:
    listed = (
        "objective: [{metric: dice, value: last}, {metric: parameters}, {metric: dice@far}, {metric: loss}]"
    )
    bounds = "constraints: {peak_mb: {at_most: 8000}, iou: {at_least: 0.25}}"
    return loaded(folder, text_with(objective=f"{listed}\n{bounds}\n{SHIFTED}"))


def test_each_objective_has_its_own_direction_and_a_constraint_its_bound(tmp_path: Path) -> None:
    goals = Goals.of(experiment := whole(tmp_path))
    up, down = Direction.MAXIMIZE, Direction.MINIMIZE
    named = {"dice": up, "parameters": down, "dice@far": up, "loss": down}
    assert goals.objectives == tuple(Goal(*each) for each in named.items())
    assert goals.rule is ValueRule.LAST
    assert goals.metrics == (*named, "peak_mb", "iou")
    values = {"dice": 0.5, "parameters": 10.0, "dice@far": 0.25, "loss": 1.0, "peak_mb": 6000.0, "iou": 0.2}
    assert goals.vector(values) == (0.5, 10.0, 0.25, 1.0)
    assert goals.violations(values) == {"peak_mb": pytest.approx(-0.25), "iou": pytest.approx(0.2)}
    assert goals.broken(values) == ("iou",)
    assert goals.broken({}) == ("peak_mb", "iou")
    assert goals.vector({}) is None
    assert goals.violations({}) is None
    # What workers are told: the metrics that their reports must hold.
    assert experiment.workload.also == ("parameters", "dice@far", "loss", "peak_mb", "iou")
    assert experiment.workload.watched == ("far",)
    assert experiment.workload.domains_of_objective == ()


def test_dominance_needs_to_be_better_in_something() -> None:
    goals = Goals((Goal("dice", Direction.MAXIMIZE), Goal("parameters", Direction.MINIMIZE)))
    good, cheap, equal, bad = (signed(goals, v) for v in ((0.9, 8.0), (0.5, 2.0), (0.9, 8.0), (0.5, 8.0)))
    assert dominates(good, bad)
    assert dominates(cheap, bad)
    assert not dominates(bad, good)
    assert not dominates(good, cheap)
    assert not dominates(good, equal)


def test_a_list_of_one_is_the_same_as_a_mapping(tmp_path: Path) -> None:
    one = loaded(tmp_path, text_with())
    listed = loaded(tmp_path, text_with(objective="objective: [{metric: dice}]"))
    assert one.model_copy(update={"source_text": ""}) == listed.model_copy(update={"source_text": ""})


def test_an_override_replaces_one_objective_or_the_list(tmp_path: Path) -> None:
    text = text_with(objective=TWO)
    assert loaded(tmp_path, text, ("objective[0].metric=iou",)).objective.metric == "iou"
    assert [o.metric for o in loaded(tmp_path, text, ("objective[1].metric=macs",)).further] == ["macs"]
    assert loaded(tmp_path, text, ("objective={metric: iou}",)).further == ()


def test_it_is_read_again_from_the_record_and_from_its_document(tmp_path: Path) -> None:
    experiment = whole(tmp_path)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    again = loaded(tmp_path, dump_yaml(document_of(experiment)))
    assert (again.objective, again.further) == (experiment.objective, experiment.further)
    assert again.constraints == experiment.constraints


def test_a_record_of_before_has_one_objective() -> None:
    given = Experiment.model_validate_json(
        '{"name": "a", "task": "detection", "objective": {"metric": "map"}}'
    )
    assert Goals.of(given).single


def test_the_schema_takes_a_list_and_knows_its_keys(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    assert validator.is_valid(read_yaml(whole(tmp_path).source_text).value)
    valid = {"name": "a", "task": "detection", "objective": {"metric": "map"}}
    for wrong in (
        {"objective": []},
        {"objective": [{"metric": "map"}, {"metric": "loss", "value": "last"}]},
        {"objective": [{"metric": "map"}, {"metrc": "loss"}]},
        {"constraints": {"peak_mb": {"at_mst": 1}}},
        {"further": []},
    ):
        assert not validator.is_valid(valid | wrong), wrong
