"""An experiment recorded before the restructuring is read, queried, reported, resumed and extended."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import command
import pytest

from trainables.specs.definitions import BEFORE
from tuning.ledger.history import History
from tuning.ledger.ledger import read_history

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "recorded_before"
NAME = "recorded"
TOLERANCE = 5e-3
"""Tolerance for a Dice that is trained here, on another processor than the fixture's."""


def place(storage: Path, which: str) -> Path:
    """Copy the fixture, so that it stays unchanged."""
    shutil.copytree(FIXTURE / which, storage / NAME)
    return storage / NAME


def adaptertune(storage: Path, *arguments: str) -> str:
    given = {"ADAPTERTUNE_STORAGE": str(storage), "COLUMNS": "200"}
    return command.adaptertune(storage, *arguments, timeout=800, **given)


def expected(name: str) -> Any:
    return json.loads((FIXTURE / "expected" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("best", ("best", NAME, "--early-stopped", "--format", "json")),
        ("trials", ("query", NAME, "SELECT * FROM trials ORDER BY trial", "--format", "json")),
        ("epochs", ("query", NAME, "SELECT * FROM epochs ORDER BY trial, epoch", "--format", "json")),
        ("domains", ("domains", NAME, "--format", "json")),
    ],
)
@pytest.mark.parametrize("tables", [True, False], ids=["tables", "ledger alone"])
def test_it_answers_as_before(tmp_path: Path, name: str, arguments: tuple[str, ...], *, tables: bool) -> None:
    folder = place(tmp_path, "finished")
    if not tables:
        shutil.rmtree(folder / "tables")
    assert without_new(json.loads(adaptertune(tmp_path, *arguments)), was := expected(name)) == was


NEW = {
    "definitions", "metric", "floor", "floors", "test_floor", "above_floor", "collapsed", "relative",
    "latency_low_ms", "latency_high_ms", "augment.invert", "augment.views",
    "head.kind", "head.blocks", "sampling.balance", "sampling.power", "fold",
}  # fmt: skip
"""Keys that answers have gained since."""
KNOWN_NOW = {"validation"}
"""Keys that were null for the pretrained baseline, and have a value now."""


def without_new(found: Any, was: Any) -> Any:
    """The answer without the keys that it has gained."""
    if isinstance(found, list) and isinstance(was, list) and len(found) == len(was):
        return [without_new(one, other) for one, other in zip(found, was, strict=True)]
    if isinstance(found, dict) and isinstance(was, dict):
        kept = found.keys() - (NEW - was.keys())
        filled = {key for key in KNOWN_NOW & was.keys() if was[key] is None}
        return {key: without_new(found[key], was.get(key)) for key in found if key in kept} | dict.fromkeys(
            filled
        )
    return found


def test_it_says_by_which_definitions_it_was_measured_and_has_no_floors(tmp_path: Path) -> None:
    place(tmp_path, "finished")
    best = json.loads(adaptertune(tmp_path, "best", NAME, "--early-stopped", "--format", "json"))
    assert best["definitions"][NAME]["dice"] == "1: mean over all classes, the background included"
    assert {(t["floor"], t["test_floor"], t["collapsed"]) for t in best["trials"]} == {(None, None, None)}
    domains = json.loads(adaptertune(tmp_path, "domains", NAME, "--format", "json"))
    assert domains["definitions"]["robustness"] == "1: shifted ÷ in domain"
    assert domains["floors"] == {}
    assert "constant predictor" not in adaptertune(tmp_path, "best", NAME, "--early-stopped")
    assert "constant predictor" not in adaptertune(tmp_path, "domains", NAME)


def test_the_interrupted_one_is_read(tmp_path: Path) -> None:
    folder = place(tmp_path, "interrupted")
    history = read_history(folder)
    assert len(history.trials) == 5
    assert history.trials[4].outcome is None
    rows = json.loads(adaptertune(tmp_path, "query", NAME, "SELECT * FROM trials", "--format", "json"))
    assert len(rows) == 5
    assert "trial 4" in adaptertune(tmp_path, "status", NAME)


def test_it_is_reported(tmp_path: Path) -> None:
    place(tmp_path, "finished")
    adaptertune(tmp_path, "report", NAME, "--format", "markdown", "--to", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.md").read_text()
    assert "0.096" in page
    assert "Best configuration" in page


def essence(folder: Path) -> dict[int, dict[str, Any]]:
    """Configuration, decisions and curve of each trial."""
    return {
        number: {
            "params": dict(trial.params),
            "outcome": trial.outcome,
            "stopped": trial.stopped.epoch if trial.stopped else None,
            "curve": [(r.epoch, r.step, r.objective) for r in trial.reports],
        }
        for number, trial in read_history(folder).trials.items()
    }


def assert_same(found: dict[int, dict[str, Any]], wanted: dict[int, dict[str, Any]]) -> None:
    assert found.keys() == wanted.keys()
    for number, trial in wanted.items():
        mine = found[number]
        assert mine | {"curve": None} == trial | {"curve": None}
        assert [point[:2] for point in mine["curve"]] == [point[:2] for point in trial["curve"]]
        for (*_, value), (*_, before) in zip(mine["curve"], trial["curve"], strict=True):
            assert math.isclose(value, before, abs_tol=TOLERANCE)


def assert_of_before(folder: Path, before: History) -> None:
    """What is trained and scored now has the metrics of before, by the definitions of before."""
    names = next(report.metrics.keys() for trial in before.trials.values() for report in trial.reports)
    after = read_history(folder)
    reports = [report for trial in after.trials.values() for report in trial.reports]
    assert {frozenset(report.metrics) for report in reports} == {frozenset(names)}
    assert {report.above_floor for report in reports} == {None}
    assert after.prepared is not None
    assert after.prepared.floors == {}
    scores = [score for number, score in after.scores.items() if number not in before.scores]
    assert scores
    for score in scores:
        assert score.metrics.keys() == names
        assert not score.above_floor
        if score.trial is not None:  # timed in turns with the others
            assert score.latency_low_ms is not None
            assert score.latency_ms is not None
            assert score.latency_high_ms is not None
            assert 0 < score.latency_low_ms <= score.latency_ms <= score.latency_high_ms
        for name, share in score.robustness.items():
            assert share == score.domains[name]["dice"] / score.metrics["dice"]  # type: ignore[operator]


@pytest.mark.slow
def test_it_is_resumed_with_the_result_of_the_uninterrupted_one(tmp_path: Path) -> None:
    folder = place(tmp_path, "interrupted")
    before = read_history(folder)
    adaptertune(tmp_path, "resume", NAME)
    assert_same(essence(folder), essence(FIXTURE / "finished"))
    assert_of_before(folder, before)


@pytest.mark.exhaustive
def test_it_is_extended_with_the_trials_that_would_have_come(tmp_path: Path) -> None:
    folder = place(tmp_path, "finished")
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    shutil.copyfile(FIXTURE / "expected" / "extended.jsonl", wanted / "ledger.jsonl")
    adaptertune(tmp_path, "resume", NAME, "--trials", "8")
    assert_same(essence(folder), essence(wanted))


@pytest.mark.slow
def test_a_trial_of_it_is_trained_again_by_its_definitions(tmp_path: Path) -> None:
    """`train --from` repeats the trial, and its folder's file repeats the run."""
    folder = place(tmp_path, "finished")
    recorded = read_history(folder).trials[0].reports
    said = adaptertune(tmp_path, "train", "--from", f"{NAME}:0", "--into", str(tmp_path / "again"))
    assert "dice: mean over all classes, the background included, as when this experiment began" in said
    assert "floor of dice" not in said
    again = [json.loads(line) for line in (tmp_path / "again" / "reports.jsonl").read_text().splitlines()]
    assert [report["epoch"] for report in again[: len(recorded)]] == [report.epoch for report in recorded]
    for mine, was in zip(again, recorded, strict=False):
        assert mine["metrics"].keys() == was.metrics.keys()
        assert math.isclose(mine["metrics"]["dice"], was.metrics["dice"] or 0.0, abs_tol=TOLERANCE)
    held = json.loads((tmp_path / "again" / "definitions.json").read_text())
    assert held == {"definitions": BEFORE.model_dump(), "floors": {}}
    file = str(tmp_path / "again" / "experiment.yaml")
    adaptertune(tmp_path, "train", file, "--into", str(tmp_path / "repeated"))
    assert json.loads((tmp_path / "repeated" / "definitions.json").read_text()) == held
