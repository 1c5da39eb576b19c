"""A report says what a constant predictor reaches, which trials are no better, and what its metrics mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import BEFORE, DOMAINS, FLOORS, LORA, Told, experiment, write
from reports import blocks, figure, rich, said

from analysis.report.build import report_of
from analysis.report.document import ReportDocument
from analysis.report.inputs import Material
from analysis.report.plots import Curves, Dots
from tuning.ledger.records import ScoredRecord


def test_the_floor_stands_beside_the_best_value_and_the_definitions_are_named(
    report: ReportDocument, material: Material
) -> None:
    assert ("floor of dice", "0.300") in [(name, value) for name, value, _ in report.highlights]
    best = said(blocks(report, "best"))
    assert "The best constant predictor reaches 0.300 on them." in best
    assert "where a constant predictor reaches 0.200." in best
    assert "dice 0.3000 on validation images and 0.2000 on test images" in best
    assert "dice 2: mean over the foreground classes" in said(blocks(report, "searched"))
    curves = figure(report, "curves").plot
    assert isinstance(curves, Curves)
    assert curves.floor == 0.3
    assert material.best is not None
    assert material.best[1].collapsed is False


def test_a_best_trial_that_has_collapsed_is_said_to_have(tmp_path: Path) -> None:
    trials = [Told(LORA | {"lora.rank": rank}, (0.31,), above_floor=((-0.1, 0.1),)) for rank in (4, 8)]
    folder = write(tmp_path / "s", trials, of=experiment("s", epochs=1), floors=FLOORS, baseline=0.4)
    report = report_of(Material.at(folder))
    best = said(blocks(report, "best"))
    assert "The trial has collapsed: no better than a constant predictor" in best
    assert "0.310 (collapsed)" in best
    assert "The pretrained baseline has 0.400 on validation images, and is no worse." in best
    assert ("best dice", "0.310 (collapsed)") in [(name, value) for name, value, _ in report.highlights]


def test_a_record_of_before_has_neither_floors_nor_marks(tmp_path: Path) -> None:
    report = report_of(Material.at(rich(tmp_path / "storage", definitions=BEFORE)))
    text = " ".join(said(blocks(report, name)) for name in ("best", "curves", "domains", "classes", "pareto"))
    assert "floor" not in text.lower()
    assert "constant predictor" not in text
    assert "shifted ÷ in domain, from 0.05 in domain on" in text
    assert "dice 1: mean over all classes, the background included" in said(blocks(report, "searched"))


@pytest.mark.parametrize(
    ("metric", "title", "by_class"),
    [
        ("dice/7@noisy", "dice/7 on test images", "dice by class"),
        ("dice_worst", "dice_worst on test images", "dice by class"),
        ("iou", "iou on test images", "iou by class"),
        ("robustness", "dice on test images", "dice by class"),
    ],
)
def test_sections_on_test_images_are_in_the_metric_of_the_objective(
    tmp_path: Path, metric: str, title: str, by_class: str
) -> None:
    names = ("dice", "dice/7", "dice_worst", "iou", "iou/7")
    half = dict.fromkeys(names, 0.5)
    score = ScoredRecord(trial=0, epoch=1.0, metrics=half, domains={"noisy": half})
    data = {"embedded": {}, "domains": DOMAINS}
    asked = experiment("s", epochs=1, objective={"metric": metric}, data=data)
    trials = [Told(LORA, (0.5,), also={metric: 0.5})]
    folder = write(tmp_path / "s", trials, of=asked, scores=[score], floors=FLOORS)
    report = report_of(Material.at(folder))
    assert title in said(blocks(report, "domains"))
    assert by_class in said(blocks(report, "classes"))


def test_validation_metrics_by_class_are_those_in_domain(tmp_path: Path) -> None:
    """`dice/7@noisy` is a metric in a domain, and `dice/a@b` that of a class whose name holds an '@'."""
    asked = experiment(
        "s", epochs=1, objective={"metric": "robustness"}, data={"embedded": {}, "domains": DOMAINS}
    )
    also = {"robustness": 0.5, "dice/7@noisy": 0.4, "dice/7@dim": 0.3, "dice/a@b": 0.2, "dice/a@b@dim": 0.1}
    folder = write(tmp_path / "s", [Told(LORA, (0.5,), also=also)], of=asked, floors=FLOORS)
    plot = figure(report_of(Material.at(folder)), "classes").plot
    assert isinstance(plot, Dots)
    assert plot.rows == ("7", "a@b")
