"""What a report holds of validation images, and what it leaves to the scores."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainables.metrics.above_floor import collapsed
from trainables.metrics.intervals import RESAMPLES, Resampled
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE, Definitions
from trainables.specs.tasks import COCO_METRICS, MAP_WORST, SCORE_THRESHOLD
from trainables.specs.workload import ROBUSTNESS, MetricName, Task, Workload
from trainables.training import validation as module
from trainables.training.engine import Engine
from trainables.training.validation import Validation, reported

EngineOf = Callable[[Task], Engine]
CLASSES = ("cat", "dog", "a/b", "c@d")


def workload(metric: str, task: Task = Task.DETECTION, definitions: Definitions | None = None) -> Workload:
    return Workload.model_validate_json(
        json.dumps(
            {
                "task": task,
                "objective": {"metric": metric},
                "data": {
                    "embedded": {"domain": "inverted", "train": 16, "validation": 8, "test": 4},
                    "domains": {"bright": {"corruption": {"kind": "brightness", "severity": 3}}},
                },
            }
            | ({"definitions": definitions.model_dump()} if definitions else {})
        )
    )


def all_coco() -> dict[str, float]:
    by_class = {f"{base}/{name}": 0.5 for base in COCO_METRICS for name in CLASSES}
    return dict.fromkeys((*COCO_METRICS, MAP_WORST, "loss", SCORE_THRESHOLD), 0.5) | by_class


@pytest.mark.parametrize(
    ("objective", "extra"),
    [
        ("map", set()),
        ("map_50", set()),
        ("map_worst", set()),
        ("map/cat", set()),
        ("robustness", set()),
        ("mar_100/cat", {"mar_100/cat"}),
        ("mar_100/cat@bright", {"mar_100/cat"}),
        ("map_small/a/b", {"map_small/a/b"}),
        ("map_75/c@d", {"map_75/c@d"}),
        ("map_75/c@d@bright", {"map_75/c@d"}),
    ],
)
def test_of_each_class_a_report_holds_map_and_the_objective(objective: str, extra: set[str]) -> None:
    found = all_coco()
    kept = reported(found, workload(objective))
    whole = {name for name in found if "/" not in name}
    assert kept.keys() == whole | {f"map/{name}" for name in CLASSES} | extra
    assert kept.items() <= found.items()


def test_of_masks_a_report_holds_dice_and_iou_of_each_class() -> None:
    found = dict.fromkeys(
        ("dice", "iou", "dice_worst", "loss", *(f"dice/{c}" for c in CLASSES), "iou/cat"), 0.5
    )
    assert reported(found, workload("dice", Task.SEGMENTATION)) == found


def test_a_report_of_a_detector_with_80_classes_is_small() -> None:
    """Its size is that of the metrics it holds: 12 and `map` of each class, not 12 of each class."""
    names = [f"class number {n}" for n in range(80)]
    whole = {f"{base}/{name}": 0.123456789012345678 for base in COCO_METRICS for name in names}
    kept = reported(whole, workload("map"))
    assert len(kept) == 80
    assert 12 * len(json.dumps(kept)) < 1.1 * len(json.dumps(whole))


@pytest.mark.parametrize("metric", ["mar_100/5@bright", "map_worst"])
def test_reports_are_part_of_what_evaluation_finds(engine_of: EngineOf, metric: str) -> None:
    """In domain and in the objective's domain; the whole metrics stay available from `evaluate`."""
    engine, device = engine_of(Task.DETECTION), torch.device("cpu")
    asked = workload(metric)
    domains = {"bright": engine.data.splits}
    validation = Validation(asked, engine.task, engine.data, domains, device)
    model, plain = engine.baseline_model()
    found = validation.measure(model, plain).metrics
    whole = engine.evaluate(model, plain, Split.VALIDATION, choose_threshold=True)
    here = {name: value for name, value in found.items() if "@" not in name and name != ROBUSTNESS}
    assert here == reported(whole, asked)
    by_class = {base for base, slash, _ in (name.partition("/") for name in whole) if slash}
    assert len(by_class) > 6
    assert MAP_WORST in here
    assert metric in found


def test_records_of_before_hold_what_they_held(engine_of: EngineOf) -> None:
    engine = engine_of(Task.DETECTION)
    asked = workload("map@bright", definitions=BEFORE)
    old = Engine(asked, engine.data.path, device="cpu")
    model, plain = old.baseline_model()
    found = old.validate(model, plain)
    whole = old.evaluate(model, plain, Split.VALIDATION, choose_threshold=True)
    assert whole.items() <= found.metrics.items()
    assert not [name for name in found.metrics if "/" in name and "@" in name]
    assert found.above_floor is None


@pytest.mark.parametrize(
    ("objective", "own", "shifted", "expected"),
    [
        ("robustness", -0.1, 0.3, True),
        ("robustness@bright", -0.1, 0.3, True),
        ("robustness", 0.4, -0.3, True),
        ("robustness@bright", 0.4, 0.3, False),
        ("dice@bright", -0.1, 0.3, False),
        ("dice@bright", 0.4, -0.3, True),
        ("dice", 0.4, -0.3, False),
    ],
)
def test_a_trial_has_collapsed_where_its_objective_is_no_better_than_0(
    engine_of: EngineOf,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    own: float,
    shifted: float,
    expected: bool,
) -> None:
    """A robustness is 0 for a model that is below its floor in its own domain, and then marked as such."""
    engine = engine_of(Task.SEGMENTATION)
    validation = Validation(
        workload(objective, Task.SEGMENTATION),
        engine.task,
        engine.data,
        {"bright": engine.data.splits},
        torch.device("cpu"),
    )
    floors = {"validation": {"dice": 0.3}, "validation@bright": {"dice": 0.3}}
    monkeypatch.setitem(vars(validation), "floors", floors)

    class Fixed:
        def __init__(self, above: float) -> None:
            self.above = above

        def above_floor(self, metric: MetricName) -> Resampled:
            assert metric.whole == "dice"
            return Resampled(np.full(RESAMPLES, self.above))

    def measured(
        *_: object, keep: Callable[[Fixed], None] | None, choose_threshold: bool, **__: object
    ) -> dict[str, float]:
        above = own if choose_threshold else shifted  # a threshold is chosen in domain alone
        if keep is not None:
            keep(Fixed(above))
        return {"dice": 0.3 + above}

    monkeypatch.setattr(module, "metrics_of", measured)
    model, plain = engine.baseline_model()
    found = validation.measure(model, plain)
    assert collapsed(found.above_floor) is expected
    if objective.startswith(ROBUSTNESS):
        assert (found.metrics[objective] == 0) is expected
        assert found.above_floor == pytest.approx((found.metrics[objective],) * 2)
