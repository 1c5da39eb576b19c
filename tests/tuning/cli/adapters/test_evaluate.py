from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_masks import DIGITS, write_masks
from trained_runs import file, train_here
from typer.testing import Result

from trainables.data.files.object_masks import encode
from trainables.inference.predict import Box, Instances
from tuning.cli.adapters.evaluate import run_evaluate
from tuning.cli.adapters.predict import run_predict


def rows(result: Result) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(row["model"], row["domain"]): row for row in json.loads(result.stdout)["rows"]}


def test_evaluate_shows_each_domain_and_the_pretrained_baseline(run: Callable[..., Result]) -> None:
    out = run("evaluate", "cells").stdout
    for text in ("lora, frozen", "pretrained baseline", "in domain", "noisy", "faint", "relative"):
        assert text in out
    assert "on test images of its own data; weights of epoch 1, chosen on validation images" in out
    said = rows(run("evaluate", "cells", "--format", "json"))
    assert list(said) == [(m, d) for m in ("adapter", "untouched") for d in (None, "noisy", "faint")]
    own, noisy = said["adapter", None], said["adapter", "noisy"]
    assert own["images"] == noisy["images"] == 4
    assert own["relative"] is None
    shifted, here = (row["figures"]["dice"] - row["floors"]["dice"] for row in (noisy, own))
    assert noisy["relative"] == pytest.approx(shifted / here)
    assert 0 < own["floors"]["dice"] < 0.1
    assert own["collapsed"] is False
    assert "each minus its floor; floor: what the best constant predictor reaches" in " ".join(out.split())
    assert "dice/7" in own["figures"] or "dice/3" in own["figures"]


def test_relative_is_in_the_metric_of_the_objective_or_the_one_asked_for(run: Callable[..., Result]) -> None:
    whole = json.loads(run("evaluate", "boxes", "--domain", "blur:5", "--format", "json").stdout)
    assert whole["main_figure"] == "map_50"
    own, blurred = (row for row in whole["rows"] if row["model"] == "adapter")
    assert own["floors"]["map_50"] == 0.0
    assert blurred["relative"] == pytest.approx(blurred["figures"]["map_50"] / own["figures"]["map_50"])
    asked = run("evaluate", "cells", "--domain", "noisy", "--metric", "dice_worst").stdout
    assert "relative: dice_worst as a share" in " ".join(asked.split())
    refused = run("evaluate", "cells", "--metric", "dise", code=2).stderr
    assert "no such metric was measured; did you mean 'dice'?" in refused


def test_an_adapter_of_before_is_scored_as_it_was_chosen(
    run: Callable[..., Result], storage: Path, tmp_path: Path
) -> None:
    """Its run folder names no definitions: its mean is over all classes, and the table says so."""
    old = shutil.copytree(storage / "trained" / "cells", tmp_path / "old")
    (old / "definitions.json").unlink()
    now, before = (json.loads(run("evaluate", str(of), "--format", "json").stdout) for of in ("cells", old))
    new, was = (said["rows"][0]["figures"] for said in (now, before))
    assert was["dice"] == new["dice_with_background"] != new["dice"]
    assert was["dice/background"] == new["dice/background"]
    assert before["rows"][1]["relative"] == pytest.approx(before["rows"][1]["figures"]["dice"] / was["dice"])
    assert not before["rows"][0]["floors"]
    assert now["definitions"]["dice"] == "2: mean over the foreground classes"
    assert before["definitions"]["dice"] == "1: mean over all classes, the background included"
    assert "dice is the mean over all classes, the background included" in flat(run("evaluate", str(old)))
    assert run("export", str(old), "--to", str(tmp_path / "out")).exit_code == 0
    (old / "definitions.json").write_text("{")
    assert "definitions.json cannot be read" in run("evaluate", str(old), code=2).stderr


def flat(result: Result) -> str:
    """What was printed, without line breaks."""
    return " ".join(result.stdout.split())


def test_evaluate_repeats_what_training_reported(run: Callable[..., Result], storage: Path) -> None:
    for name in ("cells", "boxes"):
        (line,) = (storage / "trained" / name / "reports.jsonl").read_text().splitlines()
        said = rows(run("evaluate", name, "--split", "validation", "--format", "json"))
        reported = json.loads(line)["metrics"]
        # It is chosen in training, and not measured.
        assert ("score_threshold" in reported) == (name == "boxes")
        figures = said["adapter", None]["figures"]  # of each class it has more metrics than a report
        assert figures.items() >= {k: v for k, v in reported.items() if k != "score_threshold"}.items()
        assert figures.keys() - reported.keys() <= {name for name in figures if "/" in name}


def test_evaluate_takes_a_corruption_that_the_data_does_not_name(run: Callable[..., Result]) -> None:
    said = rows(run("evaluate", "boxes", "--domain", "blur:1", "--domain", "blur:5", "--format", "json"))
    slight, strong = said["adapter", "blur:1"], said["adapter", "blur:5"]
    assert strong["relative"] < slight["relative"]
    assert strong["figures"]["map"] < said["adapter", None]["figures"]["map"]


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("nosy", "names no such domain; did you mean 'noisy'? A corruption is KIND:SEVERITY"),
        ("else", "it names noisy, faint"),
        ("fog:3", "there is no corruption 'fog'; there are blur, noise"),
        ("noise:9", "severities are 1 to 5, got 9"),
    ],
)
def test_the_message_for_an_unknown_domain_lists_the_known_ones(
    run: Callable[..., Result], domain: str, message: str
) -> None:
    assert message in run("evaluate", "cells", "--domain", domain, code=2).stderr


def test_the_pretrained_baseline_alone(run: Callable[..., Result], storage: Path) -> None:
    beside = rows(run("evaluate", "cells", "--domain", "noisy", "--format", "json"))
    alone = rows(run("evaluate", "cells", "--untouched", "--domain", "noisy", "--format", "json"))
    of_file = run("evaluate", str(storage / "trained" / "cells.yaml"), "--untouched", "--format", "json")
    assert list(alone) == [("untouched", None), ("untouched", "noisy")]
    for domain in (None, "noisy"):
        assert alone["untouched", domain] == beside["untouched", domain] == rows(of_file)["untouched", domain]
    assert json.loads(of_file.stdout)["weights"] is None
    assert rows(run("evaluate", "digits", "--untouched", "--data", str(storage / "trained/cells.yaml"),
                    "--format", "json"))["untouched", None] == alone["untouched", None]  # fmt: skip


def test_other_data_may_number_the_classes_in_its_own_way(run: Callable[..., Result], tmp_path: Path) -> None:
    names = [DIGITS[0], *reversed(DIGITS[1:])]
    data = write_masks(tmp_path / "reversed", ", ".join(f"'{n}'" for n in names), (0, *range(10, 0, -1)))
    own = rows(run("evaluate", "cells", "--format", "json"))["adapter", None]["figures"]
    other = rows(run("evaluate", "cells", "--data", str(data), "--format", "json"))
    assert list(other) == [("adapter", None), ("untouched", None)]
    assert other["adapter", None]["figures"] == pytest.approx(own)
    assert f"on test images of {data}" in run("evaluate", "cells", "--data", str(data)).stdout


def test_a_class_name_may_hold_an_at_sign(run: Callable[..., Result], tmp_path: Path) -> None:
    """`dice/a@b` is the Dice of class `a@b`, with a floor and a mark, not of class `a` in a domain `b`."""
    names = ", ".join(f"'{name}'" for name in (DIGITS[0], "a@b", *DIGITS[2:]))
    data = write_masks(tmp_path / "scenes", names, tuple(range(11)))
    masks = re.sub(
        r"(images|masks): (?=\w+/)", rf"\1: {data.parent}/", data.read_text()[len("data:\n") :]
    ).strip()
    adapter = train_here(tmp_path / "at", "segmentation", data=masks)
    asked = ("evaluate", str(adapter), "--metric", "dice/a@b")
    row = rows(run(*asked, "--domain", "blur:3", "--format", "json"))["adapter", None]
    assert row["floors"]["dice/a@b"] > 0
    assert row["collapsed"] is not None
    shown = next(line.split() for line in run(*asked).stdout.splitlines() if line.split()[:1] == ["floor"])
    assert f"{row['floors']['dice/a@b']:.4f}" in shown


def test_a_class_that_the_adapter_does_not_know_is_named(run: Callable[..., Result], tmp_path: Path) -> None:
    names = [*DIGITS[:-1], "nucleus"]
    data = write_masks(tmp_path / "other", ", ".join(f"'{n}'" for n in names), tuple(range(11)))
    said = run("evaluate", "cells", "--data", str(data), code=2).stderr
    assert "'nucleus'" in said
    assert "background, 0, 1" in said


def test_errors_of_a_data_file_are_reported_with_their_lines(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nspace: {nonsense: 1}\ndata:\n  embedded: {domain: dark}\n")
    said = run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    assert "line 4" in said
    assert "data.embedded.domain" in said
    assert "nonsense" not in said
    wrong.write_text("name: x\n")
    assert "has no `data` section" in run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    wrong.write_text("data: {voc: {train: {images: a, annotations: b}}}\n")
    assert "has no masks" in run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    assert "there is no file" in run("evaluate", "cells", "--data", str(tmp_path / "no.yaml"), code=2).stderr


def test_a_baseline_without_a_head_for_the_classes_is_not_scored(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    data = write_masks(tmp_path / "nuclei", "ground, thing", (0, *[1] * 10))
    path = file(data.with_name("one.yaml"), "segmentation", data=data.read_text().split("\n", 1)[1].strip())
    said = run("evaluate", str(path), "--untouched", code=2).stderr
    assert "the pretrained model has no head for 'ground', 'thing'" in said


def test_data_without_test_images_is_an_error(run: Callable[..., Result], tmp_path: Path) -> None:
    data = file(tmp_path / "none.yaml", "segmentation",
                data="masks:\n    train: {images: i/train/images, masks: i/train/masks}\n"
                f"    classes: [{', '.join(repr(n) for n in DIGITS)}]\n"
                "  splits: {train: 0.5, validation: 0.5, test: 0}")  # fmt: skip
    write_masks(tmp_path / "i", "a, b", tuple(range(11)))
    said = run("evaluate", "cells", "--data", str(data), code=2).stderr
    assert "the data has no test images; use --split validation" in said
    assert "2" in run("evaluate", "cells", "--data", str(data), "--split", "validation").stdout


def documented(function: Callable[..., None]) -> set[str]:
    """The JSON keys that a command's docstring describes, one an item."""
    return set(re.findall(r"^ +- `([a-z_]+(?:\[\]\.[a-z_]+)?)`:", function.__doc__ or "", re.M))


def keys(value: dict[str, Any]) -> set[str]:
    """Keys, and those of the items of a list as `list[].key`."""
    found = set()
    for name, inner in value.items():
        nested = isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict)
        found |= {f"{name}[].{key}" for key in inner[0]} if nested else {name}
    return found


def test_the_docstrings_describe_every_json_key(
    run: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    assert documented(run_evaluate) == keys(json.loads(run("evaluate", "cells", "--format", "json").stdout))
    written = {"image", "width", "height", "adapter"}
    for name in ("cells", "boxes"):
        run("predict", name, str(images / "0.png"), "--to", str(tmp_path / name))
        written |= keys(json.loads((tmp_path / name / "0.json").read_text()))
    found = Instances(
        (Box("cat", 0, 0.9, (0, 0, 2, 2)),), 0.5, None, (encode(np.ones((2, 2), bool)),), (2, 2)
    )
    written |= keys(found.record())  # no embedded backbone has masks of objects
    assert documented(run_predict) | {"image", "width", "height", "adapter"} == written


def test_details_of_boxes_are_written(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("evaluate", "boxes", "--domain", "blur:5", "--to", str(tmp_path / "look"))
    assert "map_50" in result.stdout
    assert f"written: {tmp_path / 'look' / 'evaluation.html'}" in result.stderr
    page = (tmp_path / "look" / "evaluation.html").read_text()
    assert "What objects are taken for" in page
    assert "Score thresholds" in page
    assert len(re.findall(r'id="([^"]+)"', page)) == len(set(re.findall(r'id="([^"]+)"', page)))
    held = json.loads((tmp_path / "look" / "evaluation.json").read_text())
    plain = json.loads(run("evaluate", "boxes", "--domain", "blur:5", "--format", "json").stdout)
    without = [{k: v for k, v in row.items() if k != "details"} for row in held["rows"]]
    assert without == plain["rows"]  # what is computed besides changes no metric
    for row in held["rows"]:
        curves = row["details"]["precision"].values()
        assert sum(sum(c) / 101 for c in curves) / len(curves) == pytest.approx(row["figures"]["map_50"])
        assert row["details"]["rows"][-1] == "background"


def test_details_of_masks_are_written(run: Callable[..., Result], tmp_path: Path) -> None:
    run("evaluate", "cells", "--to", str(tmp_path / "look"))
    held = json.loads((tmp_path / "look" / "evaluation.json").read_text())
    assert [row["domain"] for row in held["rows"]] == [None, "noisy", "faint"] * 2
    for row in held["rows"]:
        confusion = row["details"]["confusion"]
        right = sum(confusion[i][i] for i in range(len(confusion)))
        assert 0 < right <= sum(map(sum, confusion)) == 4 * 64 * 64
    page = (tmp_path / "look" / "evaluation.html").read_text()
    assert "What pixels are taken for" in page


def test_a_place_that_cannot_be_written_is_an_error_before_scoring(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    result = run("evaluate", "cells", "--to", str(tmp_path / "file" / "look"), code=2)
    assert "must be written to" in result.stderr
    assert "scoring" not in result.stderr
