"""Sweeps on real images from the embedded backbones, through the command line, start to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import command
import pytest
from PIL import Image

from trainables.metrics.above_floor import collapsed
from tuning.ledger.history import History
from tuning.ledger.ledger import read_history
from tuning.ledger.records import Outcome, StoppedBy

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not next to the checkout"),
]
COMMON = [
    *("--set", "trial.epochs=4", "--set", "scheduler.asha.reduction_factor=2", "--trials", "8"),
    *("--set", "search.tpe.startup_trials=8"),
]


def adaptertune(*arguments: str, cwd: Path) -> str:
    return command.adaptertune(cwd, *arguments, ADAPTERTUNE_CACHE=str(cwd / "cache"))


def check_sweep(folder: Path, metric: str) -> History:
    """Eight trials, some stopped by ASHA, every report whole, `best` names the best of them."""
    history = read_history(folder)
    assert len(history.trials) == 8
    outcomes = [trial.ended.outcome for trial in history.trials.values() if trial.ended]
    assert set(outcomes) <= {Outcome.COMPLETED, Outcome.PRUNED}
    assert outcomes.count(Outcome.PRUNED) >= 1
    for trial in history.trials.values():
        assert [report.epoch for report in trial.reports] == [float(e + 1) for e in range(len(trial.reports))]
        assert all(metric in report.metrics for report in trial.reports)
        pruned = trial.ended is not None and trial.ended.outcome is Outcome.PRUNED
        assert (trial.stopped is not None and trial.stopped.by is StoppedBy.ASHA) == pruned
        assert pruned or len(trial.reports) == 4
    best = json.loads(adaptertune("best", str(folder), "--format", "json", cwd=folder.parent))
    top = max(trial.value for trial in history.trials.values() if trial.value is not None)
    assert top in _numbers(best)
    return history


def _numbers(value: object) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(_numbers, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(_numbers, value)) if value else set()
    return {float(value)} if isinstance(value, int | float) else set()


def test_detection_on_blood_cells(tmp_path: Path) -> None:
    cells = (DATA / "bccd").resolve()
    parts = [("train", "train"), ("validation", "val"), ("test", "test")]
    sets = ["--set", "model.image_size=[120, 160]"]
    for part, file in parts:
        sets += ["--set", f"data.coco.{part}.images={cells / 'images'}"]
        sets += ["--set", f"data.coco.{part}.annotations={cells / f'instances_{file}.json'}"]
    adaptertune("launch", "coco_folder", "--storage", str(tmp_path), *sets, *COMMON, cwd=tmp_path)
    history = check_sweep(tmp_path / "coco_folder", "map_50")
    assert history.prepared is not None
    assert history.prepared.counts == {"train": 205, "validation": 87, "test": 72}
    # Ten queries and a hundred steps cannot find thirty cells, but must show that the detector learns.
    reports = max(history.trials.values(), key=lambda trial: trial.value or 0.0).reports
    first, last = (reports[i].metrics["loss"] for i in (0, -1))
    assert first is not None
    assert last is not None
    assert last < 0.99 * first


def test_segmentation_of_nuclei(tmp_path: Path) -> None:
    """Images of one microscope, with another magnification and another staining as domains."""
    nuclei = (DATA / "dsb2018" / "fluo_256").resolve()
    sets = ["--set", "model.image_size=[128, 128]"]
    sets += ["--set", f"data.masks.train.images={nuclei / 'images'}"]
    sets += ["--set", f"data.masks.train.masks={nuclei / 'masks'}"]
    sets += ["--set", "data.masks.classes=[background, nucleus]", "--set", "scoring.trials=adapters"]
    for name in ("fluo_360", "he_stain"):
        other = nuclei.parent / name
        sets += ["--set", f"data.domains.{name}.masks.images={other / 'images'}"]
        sets += ["--set", f"data.domains.{name}.masks.masks={other / 'masks'}"]
    said = adaptertune("launch", "mask_folder", "--storage", str(tmp_path), *sets, *COMMON, cwd=tmp_path)
    history = check_sweep(tmp_path / "mask_folder", "dice")
    assert max(t.value or 0.0 for t in history.trials.values()) > 0.7
    assert "mask_folder: dice in domain and shifted" in said
    table = json.loads(
        adaptertune("domains", str(tmp_path / "mask_folder"), "--format", "json", cwd=tmp_path)
    )
    assert table["domains"] == ["fluo_360", "he_stain"]
    assert table["failed"] == []
    kinds = [(row["adapter"], row["freezing"]) for row in table["rows"]]
    assert len(kinds) == len(set(kinds)) >= 3
    assert history.prepared is not None
    for row in table["rows"]:
        inside = row["metrics"]["dice"]
        assert inside > 0.3
        for name, figures in row["domains"].items():
            assert 0 < figures["dice"] < 1
            above = [
                max(0.0, value - history.prepared.floors[part]["dice"])
                for value, part in ((figures["dice"], f"test@{name}"), (inside, "test"))
            ]
            assert row["robustness"][name] == pytest.approx(above[0] / above[1])
    # It was trained on bright nuclei on dark ground, so an inverted stain must be harder.
    best = table["rows"][0]
    assert best["domains"]["he_stain"]["dice"] < best["metrics"]["dice"]
    look_at_predictions(nuclei, tmp_path)


def test_a_sweep_for_another_stain_names_a_trial_that_finds_nuclei(tmp_path: Path) -> None:
    """Trained on fluorescence, chosen by Dice on H&E, where nuclei are dark on bright ground.

    The mean with the background is highest for trials that find next to nothing there.
    """
    nuclei = (DATA / "dsb2018" / "fluo_256").resolve()
    stain = {part: halved(nuclei.parent / "he_stain", tmp_path, part) for part in ("validation", "test")}
    at = "data.domains.he_stain"
    chosen = {"data.masks.train": nuclei, at: stain["test"], f"{at}.validation": stain["validation"]}
    sets = ["--set", "model.image_size=[128, 128]", "--set", "data.masks.classes=[background, nucleus]"]
    for key, folder in chosen.items():
        part = key if key == "data.masks.train" else f"{key}.masks"
        sets += ["--set", f"{part}.images={folder / 'images'}", "--set", f"{part}.masks={folder / 'masks'}"]
    sets += ["--set", "objective.metric=dice@he_stain", "--set", "trial.epochs=3", "--trials", "4"]
    adaptertune("launch", "mask_folder", "--storage", str(tmp_path), *sets, cwd=tmp_path)
    history = read_history(tmp_path / "mask_folder")
    assert history.prepared is not None
    floors = history.prepared.floors
    assert 0.3 < floors["validation@he_stain"]["dice"] < 0.4, "of calling everything a nucleus"
    assert floors["validation@he_stain"]["dice_with_background"] > 0.4, "of finding nothing"
    told = json.loads(adaptertune("best", str(tmp_path / "mask_folder"), "--format", "json", cwd=tmp_path))
    values = {number: trial.value or 0.0 for number, trial in history.trials.items()}
    best = max(values, key=values.__getitem__)
    assert values[best] in _numbers(told)
    reports = {n: trial.reports for n, trial in history.trials.items()}
    winner = next(r for r in reports[best] if r.metrics["dice@he_stain"] == values[best])
    assert winner.metrics["dice/nucleus@he_stain"] == values[best] > 0.1
    everything = [report for several in reports.values() for report in several]
    before = max(everything, key=lambda report: report.metrics["dice_with_background@he_stain"] or 0.0)
    assert (before.metrics["dice/nucleus@he_stain"] or 0.0) < values[best], "the old mean names another"
    for report in everything:
        assert report.above_floor is not None
        above = (report.metrics["dice@he_stain"] or 0.0) - floors["validation@he_stain"]["dice"]
        assert report.above_floor[0] - 0.05 < above < report.above_floor[1] + 0.05
        assert report.metrics["dice@he_stain"] or collapsed(report.above_floor)
    score = history.scores[best]
    assert {"dice", "dice@he_stain"} <= score.above_floor.keys()
    kept = [
        max(0.0, (figures["dice"] or 0.0) - floors[part]["dice"])
        for figures, part in ((score.domains["he_stain"], "test@he_stain"), (score.metrics, "test"))
    ]
    assert score.robustness["he_stain"] == pytest.approx(kept[0] / kept[1] if kept[1] else 0.0)


def halved(source: Path, root: Path, part: str) -> Path:
    """Every other image and mask of `source`, as a folder of its own."""
    for kind in ("images", "masks"):
        (root / part / kind).mkdir(parents=True)
        for image in sorted((source / kind).iterdir())[part == "test" :: 2]:
            shutil.copy(image, root / part / kind / image.name)
    return root / part


def look_at_predictions(nuclei: Path, root: Path) -> None:
    """Draw an image of each domain with its mask, and assert that nuclei are found."""
    images = [min((nuclei.parent / name / "images").iterdir()) for name in ("fluo_256", "fluo_360")]
    adaptertune(
        *("predict", str(root / "mask_folder:best"), *map(str, images), "--to", str(root / "drawn")), cwd=root
    )
    for image in images:
        told = json.loads((root / "drawn" / f"{image.stem}.json").read_text())
        nucleus = next(c for c in told["classes"] if c["label"] == "nucleus")
        with Image.open(image) as before, Image.open(root / "drawn" / told["mask"]) as mask:
            assert mask.size == before.size
            counts = mask.histogram()
        assert counts[nucleus["value"]] == nucleus["pixels"]
        assert 0.01 < nucleus["share"] < 0.9
        assert (root / "drawn" / f"{image.stem}.png").stat().st_size > 0
