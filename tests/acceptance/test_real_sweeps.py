"""Sweeps on real images from the embedded backbones, through the command line, start to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import command
import pytest
from PIL import Image

from tuning.ledger.history import History
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome, StoppedBy

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not next to the checkout"),
]
COMMON = [
    *("--set", "trial.epochs=4", "--set", "scheduler.asha.reduction_factor=2", "--trials", "8"),
    *("--set", "search.tpe.startup_trials=8"),
]

STAIN_SWEEP = """\
name: stain
task: segmentation
model: {{name: embedded, image_size: [128, 128]}}
data:
  masks:
    train: {{images: {fluo}/images, masks: {fluo}/masks}}
    classes: [background, nucleus]
  train_fraction: 0.5
  domains:
    stain:
      masks: {{images: {test}/images, masks: {test}/masks}}
      validation:
        masks: {{images: {validation}/images, masks: {validation}/masks}}
objective: {{metric: dice@stain, value: last}}
trial:
  epochs: 4
  schedule: warmup_flat_decay
  loss: cross_entropy_dice
  learning_rate: 1e-3
  augment: {{horizontal_flip: 0.5, vertical_flip: 0.5}}
space:
  adapter: {{choice: [none, lora]}}
  freezing:
    - {{choice: [full], when: {{adapter: none}}}}
    - {{choice: [unfrozen], when: {{adapter: lora}}}}
  augment.contrast: {{choice: [0.0, 0.5]}}
  augment.invert: {{choice: [0.0, 0.5]}}
search:
  random: {{}}
  trials: 4
  seed: 0
  first:
    - {{adapter: none, freezing: full, augment.contrast: 0.0, augment.invert: 0.0}}
    - {{adapter: none, freezing: full, augment.contrast: 0.5, augment.invert: 0.5}}
    - {{adapter: lora, freezing: unfrozen, augment.contrast: 0.0, augment.invert: 0.0}}
    - {{adapter: lora, freezing: unfrozen, augment.contrast: 0.5, augment.invert: 0.5}}
scheduler:
  asha: {{grace_epochs: 2, reduction_factor: 2}}
"""


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


@pytest.mark.exhaustive
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
    losses = [[r.metrics["loss"] or 0.0 for r in trial.reports] for trial in history.trials.values()]
    assert min(each[-1] / each[0] for each in losses if each) < 0.99


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
    assert max(t.value or 0.0 for t in history.trials.values()) > 0.6
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
        for name, figures in row["domains"].items():
            above = [
                max(0.0, value - history.prepared.floors[part]["dice"])
                for value, part in ((figures["dice"], f"test@{name}"), (inside, "test"))
            ]
            assert row["robustness"][name] == pytest.approx(above[0] / above[1] if above[1] else 0.0)
    # It was trained on bright nuclei on dark ground, so an inverted stain must be harder.
    best = table["rows"][0]
    assert best["metrics"]["dice"] > 0.5
    assert best["domains"]["he_stain"]["dice"] < best["metrics"]["dice"]
    look_at_predictions(nuclei, tmp_path)


@pytest.mark.exhaustive
def test_a_sweep_for_another_stain_names_a_trial_that_finds_nuclei(tmp_path: Path) -> None:
    """Trained on fluorescence, chosen by Dice on H&E, where nuclei are dark on bright ground.

    Without inverted images a model calls the bright ground a nucleus, and is worse than a constant predictor.
    """
    stain = {part: halved(DATA / "dsb2018" / "he_stain", tmp_path, part) for part in ("validation", "test")}
    (tmp_path / "stain.yaml").write_text(
        STAIN_SWEEP.format(fluo=(DATA / "dsb2018" / "fluo_256").resolve(), **stain), encoding="utf-8"
    )
    folder = tmp_path / "stain"
    said = adaptertune("launch", "stain.yaml", "--storage", str(tmp_path), cwd=tmp_path)
    assert "where a constant predictor reaches" in said
    prepared = read_history(folder).prepared
    assert prepared is not None
    floors = prepared.floors["validation@stain"]
    assert 0.3 < floors["dice"] < 0.4, "of calling everything a nucleus"
    assert floors["dice_with_background"] > 0.4, "of finding nothing"

    told = json.loads(adaptertune("best", str(folder), "--early-stopped", "--format", "json", cwd=tmp_path))
    winner, *others = told["trials"]
    assert winner["params"]["augment.invert"] == 0.5
    assert (winner["outcome"], winner["ran_epochs"]) == ("completed", 4), "ASHA kept it"
    assert winner["metrics"]["dice/nucleus@stain"] == winner["value"] > winner["floor"] == floors["dice"]
    assert winner["above_floor"][0] > 0.0
    assert not winner["collapsed"]
    assert winner["test"]["domains"]["stain"]["dice/nucleus"] > winner["test_floor"]
    not_inverted = [trial for trial in others if not trial["params"]["augment.invert"]]
    assert len(not_inverted) == 2
    for trial in told["trials"]:
        assert trial["collapsed"] == (trial["above_floor"][0] <= 0.0)
    collapsed = [trial["trial"] for trial in not_inverted if trial["collapsed"]]
    assert collapsed, not_inverted
    tell_the_floor(folder, winner["trial"], collapsed=collapsed[0])


def tell_the_floor(folder: Path, winner: int, *, collapsed: int) -> None:
    """`best`, the report and the model card show the floor, and mark a trial that does not lie above it."""
    at = folder.parent
    table = adaptertune("best", str(folder), "--early-stopped", cwd=at)
    assert "Floor, what the best constant predictor reaches: dice@stain" in " ".join(table.split())
    assert ", collapsed" in table
    adaptertune("report", str(folder), "--format", "markdown", "--to", str(at / "report"), cwd=at)
    assert "floor of dice@stain" in (at / "report" / "report.md").read_text(encoding="utf-8")
    for number, model in ((winner, at / "model"), (collapsed, at / "collapsed")):
        adaptertune("export", f"{folder}:{number}", "--to", str(model), cwd=at)
        card = (model / "README.md").read_text(encoding="utf-8")
        assert "validation images of stain" in card
        assert "floor of these images" in card
        assert ("This model has collapsed" in card) == (number == collapsed)


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
