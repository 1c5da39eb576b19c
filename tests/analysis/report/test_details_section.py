from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reports import blocks, figure, rich, said

from analysis.report.build import report_of
from analysis.report.details_section import MOST_CURVES, MOST_ROWS, details_blocks
from analysis.report.document import Figure, Section
from analysis.report.figures import draw_figure
from analysis.report.inputs import Material
from analysis.report.plots import Confusion, PrecisionRecall
from analysis.tables import Table
from trainables.metrics.details import Details, Thresholds, write_details
from trainables.metrics.threshold import OperatingPoint
from trainables.run_folder import DETAILS, TEST_RESULTS
from tuning.ledger.storage import trial_folder

RECALLS = 101


def boxes(classes: int = 2, seed: int = 0) -> Details:
    """Precision that falls, some confusion, and a threshold for all classes but the last."""
    rng = np.random.default_rng(seed)
    names = tuple(f"class {i}" for i in range(classes))
    confusion = rng.integers(0, 9, (classes + 1, classes + 1)) + 30 * np.eye(classes + 1, dtype=np.int64)
    confusion[-1] = [*[3] * classes, 0]
    precision = {n: tuple(np.linspace(1, rng.random(), RECALLS).tolist()) for n in names}
    chosen = {n: OperatingPoint(0.25 + 0.01 * i, 0.8) for i, n in enumerate(names[:-1])}
    return Details((*names, "background"), confusion, precision, Thresholds(OperatingPoint(0.4, 0.7), chosen))


def figures(details: Details) -> list[Figure]:
    return [block for block in details_blocks(details, "trial 3, test images") if isinstance(block, Figure)]


def test_of_boxes() -> None:
    curves, confusion = figures(boxes())
    assert isinstance(curves.plot, PrecisionRecall)
    assert [name for name, _ in curves.plot.curves] == sorted(
        ("class 0", "class 1"), key=lambda name: -np.mean(boxes().precision[name])
    )
    assert "mean of a curve is its class's AP50" in curves.caption
    assert isinstance(confusion.plot, Confusion)
    assert confusion.plot.names == ("class 0", "class 1", "background")
    assert all(sum(row) == pytest.approx(1) for row in confusion.plot.shares)
    table = next(b for b in details_blocks(boxes(), "trial 3, test images") if isinstance(b, Table))
    assert [row[:3] for row in table.rows] == [("class 0", "0.2500", "0.8000"), ("class 1", "0.4000", "–")]
    count = boxes().confusion
    assert table.rows[0][3] == f"{count[0, 0] / count[:, 0].sum():.4f}"
    assert table.rows[0][4] == f"{count[0, 0] / count[0].sum():.4f}"
    assert "the common threshold: 0.4000 (F1 0.7000)" in table.caption


def test_of_masks_only_the_confusion() -> None:
    found = details_blocks(Details(("background", "cell"), np.array([[90, 10], [4, 6]])), "test images")
    assert len(found) == 1
    assert isinstance(found[0], Figure)
    assert (
        "Most often taken for another: 40 % of cell for background; 10 % of background for cell"
        in found[0].caption
    )


def test_nothing_found_and_no_objects() -> None:
    empty = Details(("cat", "background"), np.zeros((2, 2), np.int64), {}, Thresholds())
    text = said(details_blocks(empty, "test images"))
    assert "These images have no object, so there is no recall." in text
    assert "cat | 0.5000 | – | – | – | 0" in text
    assert "none, as no box is right there" in text


def test_many_classes_are_cut_and_it_is_said() -> None:
    curves, confusion = figures(boxes(60))
    assert isinstance(curves.plot, PrecisionRecall)
    assert isinstance(confusion.plot, Confusion)
    assert len(curves.plot.curves) == MOST_CURVES
    assert "The best and the worst 8 of 60 classes" in curves.caption
    assert len(confusion.plot.names) == MOST_ROWS
    assert confusion.plot.names[-1] == "background"
    assert "The 29 most frequent of 60 classes" in confusion.caption


@pytest.mark.parametrize("classes", [1, 2, 13, 60])
def test_figures_are_drawn(classes: int) -> None:
    for one in figures(boxes(classes)):
        drawn = draw_figure(one)
        assert drawn.png.startswith(b"\x89PNG")
        assert "http://www.w3.org/1999/xlink" not in drawn.inline or 'href="http' not in drawn.inline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return rich(tmp_path)


def section(folder: Path) -> tuple[Section, Material]:
    material = Material.at(folder)
    report = report_of(material)
    return next(part for part in report.sections if part.anchor == "details"), material


def test_a_record_of_before_says_how_to_get_them(folder: Path) -> None:
    for path in folder.rglob(DETAILS):
        path.unlink()
    found, _ = section(folder)
    assert "`adaptertune evaluate digits:best --to DIR`" in said(found.blocks)


def test_the_best_scored_trial_is_shown(folder: Path) -> None:
    _, material = section(folder)
    best = next(trial.number for trial, _ in material.ranking.ranked if trial.number in material.sweep.scores)
    path = trial_folder(folder, best) / TEST_RESULTS / DETAILS
    write_details(Details(("ground", "7"), np.array([[90, 10], [4, 6]])), path)
    report = report_of(Material.at(folder))
    assert f"Trial {best}, test images." in figure(report, "confusion").caption
    path.write_text("{")
    assert "cannot be read as details" in said(blocks(report_of(Material.at(folder)), "details"))
