from __future__ import annotations

from typing import Any

import pytest
from recorded import experiment

from analysis.report.setup import (
    OUTCOMES,
    describe_data,
    describe_scheduler,
    describe_search_domain,
    rungs_of,
)
from trainables.specs.data import DataSpec
from tuning.experiment.alternative import Alternative
from tuning.ledger.outcomes import Outcome


def test_rungs_are_before_the_last_epoch() -> None:
    asha = {"asha": {"grace_epochs": 0.5, "reduction_factor": 2.0}}
    assert rungs_of(experiment(epochs=4, scheduler=asha)) == (0.5, 1.0, 2.0)
    assert rungs_of(experiment(scheduler={})) == ()


def test_domains_in_words() -> None:
    assert describe_search_domain(Alternative.model_validate({"choice": (4, "a", [1, 2])})) == "4, a, [1, 2]"
    assert (
        describe_search_domain(Alternative.model_validate({"int": (1, 8), "step": 2}))
        == "1 to 8, steps of 2, integer"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"coco": {"train": {"images": "a", "annotations": "b.json"}}}, "COCO JSON b.json"),
        ({"yolo": {"file": "a/data.yaml"}}, "YOLO labels of a/data.yaml"),
        ({"voc": {"train": {"images": "a", "annotations": "xml"}}}, "Pascal VOC boxes from xml"),
        ({"labelme": {"train": {"folder": "a"}}}, "LabelMe files of a"),
        ({"folder": "a"}, "what lies in a"),
        ({"hub": {"path": "a/b"}}, "a/b from the Hugging Face Hub"),
    ],
)
def test_every_source_in_words(data: dict[str, Any], words: str) -> None:
    assert describe_data(DataSpec.model_validate(data)) == words


@pytest.mark.parametrize(
    ("scheduler", "words", "rungs"),
    [
        ({}, "none by a scheduler", ()),
        ({"asha": {}}, "ASHA by rank, one in 3 continues, rungs at epoch 1, 3", (1, 3)),
        (
            {"asha": {"rule": "rank", "rest": True, "within": ["freezing"], "reduction_factor": 2.0}},
            "ASHA by rank, within freezing, trials rest where there are too few to compare, one in 2"
            " continues, rungs at epoch 1, 2, 4, 8",
            (1, 2, 4, 8),
        ),
        ({"median": {"grace_epochs": 2.0}}, "median rule from epoch 2 on", ()),
        (
            {"hyperband": {"grace_epochs": 0.5}},
            "Hyperband, one in 3 of a bracket continues, first rungs at epoch 1, 3",
            (1, 3),
        ),
        (
            {"pasha": {"grace_epochs": 2.0}},
            "PASHA, one in 3 continues, rungs at epoch 2, 6 while the order of trials changes",
            (2, 6),
        ),
        (
            {"pbt": {"interval_epochs": 2}},
            "population-based training: every 2 epochs the worst 25% go on from the state of the best, with"
            " other learning_rate",
            (),
        ),
        ({"asha": {"grace_epochs": 9.0}}, "ASHA by rank, one in 3 continues, rungs at epoch ", ()),
    ],
)
def test_every_stopping_rule_in_words(
    scheduler: dict[str, Any], words: str, rungs: tuple[float, ...]
) -> None:
    asked = experiment(epochs=9, scheduler=scheduler)
    assert describe_scheduler(asked) == words
    assert rungs_of(asked) == rungs


def test_every_outcome_has_words() -> None:
    assert OUTCOMES.keys() == {*Outcome, "running"}
