from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import Result


def test_predict_draws_masks_and_writes_json(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    to = tmp_path / "out"
    out = run("predict", "cells", str(images), "--to", str(to)).stdout
    assert f"2 drawn in {to}" in out
    assert sorted(p.name for p in to.iterdir()) == [
        "0.json", "0.mask.png", "0.png", "1.json", "1.mask.png", "1.png",
    ]  # fmt: skip
    said = json.loads((to / "0.json").read_text())
    assert (said["width"], said["height"], said["mask"]) == (64, 64, "0.mask.png")
    assert said["adapter"] == "one in cells"
    with Image.open(to / "0.mask.png") as mask:
        values = np.asarray(mask)
    assert values.shape == (64, 64)
    for row in said["classes"]:
        assert row["pixels"] == int((values == row["value"]).sum())


def test_predict_draws_boxes_above_the_threshold(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    to = tmp_path / "deep" / "out"
    call = ("predict", "boxes", str(images / "0.png"), "--to", str(to))
    assert "score of 0.5 or more" in run(*call, "--threshold", "0.5").stdout
    few = json.loads((to / "0.json").read_text())
    run(*call, "--threshold", "0", "--replace")
    many = json.loads((to / "0.json").read_text())
    assert (few["threshold"], many["threshold"]) == (0.5, 0.0)
    assert len(few["detections"]) < len(many["detections"]) == 10
    assert all(row["score"] >= 0.5 for row in few["detections"])
    assert sorted(p.name for p in to.iterdir()) == ["0.json", "0.png"]


def test_the_threshold_is_the_one_that_training_chose(
    run: Callable[..., Result], images: Path, storage: Path, tmp_path: Path
) -> None:
    (line,) = (storage / "trained" / "boxes" / "reports.jsonl").read_text().splitlines()
    chosen = json.loads(line)["metrics"]["score_threshold"]
    out = run("predict", "boxes", str(images / "0.png"), "--to", str(tmp_path)).stdout
    assert f"score of {chosen:.4g} or more, which gives the highest F1 on its validation images" in out
    assert json.loads((tmp_path / "0.json").read_text())["threshold"] == chosen


def test_without_a_box_above_the_threshold_the_highest_score_is_said(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    one = str(images / "0.png")
    run("predict", "boxes", one, "--to", str(tmp_path / "all"), "--threshold", "0")
    best = json.loads((tmp_path / "all" / "0.json").read_text())["detections"][0]
    out = run("predict", "boxes", one, "--to", str(tmp_path / "none"), "--threshold", "1").stdout
    said = re.search(r"0 boxes; the highest score is ([0-9.]+) \((.+)\)", out)
    assert said is not None
    assert best["score"] - 2e-4 <= float(said[1]) <= best["score"]
    assert said[2] == best["label"]


def test_an_adapter_without_a_threshold_uses_the_default_and_says_so(
    run: Callable[..., Result], images: Path, storage: Path, tmp_path: Path
) -> None:
    old = storage / "trained" / "old"
    shutil.copytree(storage / "trained" / "boxes", old)
    reports = old / "reports.jsonl"
    report = json.loads(reports.read_text())
    del report["metrics"]["score_threshold"]
    reports.write_text(json.dumps(report) + "\n")
    out = run("predict", "old", str(images / "0.png"), "--to", str(tmp_path)).stdout
    assert "score of 0.5 or more, as training chose no threshold" in out


def test_results_that_are_there_already_are_not_replaced_unasked(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "1.json").write_text("mine")
    call = ("predict", "cells", str(images), "--to", str(to))
    said = run(*call, code=2).stderr
    assert "already exists" in said
    assert "--replace" in said
    assert [p.name for p in to.iterdir()] == ["1.json"]
    run(*call, "--replace")
    assert (to / "1.json").read_text() != "mine"


def test_an_image_that_cannot_be_read_is_named_and_the_others_continue(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    (images / "torn.png").write_bytes(b"nothing")
    result = run("predict", "cells", str(images), "absent.jpg", "--to", str(tmp_path / "out"), code=1)
    assert f"{images / 'torn.png'}: cannot be read as an image" in result.stderr
    assert "absent.jpg: there is no such image" in result.stderr
    assert "2 drawn" in result.stdout


def test_results_never_replace_the_images(run: Callable[..., Result], images: Path) -> None:
    before = (images / "0.png").read_bytes()
    said = run("predict", "cells", str(images / "0.png"), "--to", str(images), code=2).stderr
    assert "choose another folder with --to" in said
    assert (images / "0.png").read_bytes() == before


def test_a_threshold_applies_to_boxes(run: Callable[..., Result], images: Path) -> None:
    assert "leave it out" in run("predict", "cells", str(images), "--threshold", "0.2", code=2).stderr
