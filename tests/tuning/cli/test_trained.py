from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded import write
from trained_runs import cached, file, train_here
from typer.testing import Result

from tuning.checkpoints.trained_adapter import TrainedAdapter

DATA = """embedded: {domain: clean, train: 16, validation: 4, test: 4}
  domains: {noisy: {embedded: noisy}, faint: {corruption: {kind: contrast, severity: 4}}}"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of `train`, and an experiment whose trials 0 and 2 kept weights."""
    with cached(tmp_path_factory):
        root = tmp_path_factory.mktemp("storage")
        cells = train_here(root / "trained" / "cells", "segmentation", data=DATA)
        train_here(root / "trained" / "boxes", "detection")
        folder = write(root / "digits")
        for number in (0, 2):
            (folder / "trials" / f"{number:04d}").mkdir(parents=True)
            shutil.copy(cells / "best.ckpt", folder / "trials" / f"{number:04d}")
        yield root


def rows(result: Result) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(row["model"], row["domain"]): row for row in json.loads(result.stdout)["rows"]}


# --- evaluate ---------------------------------------------------------------------------------


def test_evaluate_shows_each_domain_and_the_untouched_base(run: Callable[..., Result]) -> None:
    out = run("evaluate", "cells").stdout
    for text in ("lora, frozen", "untouched backbone", "in domain", "noisy", "faint", "relative"):
        assert text in out
    assert "on test images of its own data; weights of epoch 1, picked on validation images" in out
    said = rows(run("evaluate", "cells", "--format", "json"))
    assert list(said) == [(m, d) for m in ("adapter", "untouched") for d in (None, "noisy", "faint")]
    own, noisy = said["adapter", None], said["adapter", "noisy"]
    assert own["images"] == noisy["images"] == 4
    assert own["relative"] is None
    assert noisy["relative"] == pytest.approx(noisy["figures"]["dice"] / own["figures"]["dice"])
    assert "dice/7" in own["figures"] or "dice/3" in own["figures"]


def test_evaluate_repeats_what_training_reported(run: Callable[..., Result], storage: Path) -> None:
    for name in ("cells", "boxes"):
        (line,) = (storage / "trained" / name / "reports.jsonl").read_text().splitlines()
        said = rows(run("evaluate", name, "--split", "validation", "--format", "json"))
        assert said["adapter", None]["figures"] == json.loads(line)["metrics"]


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
def test_an_unknown_domain_says_what_there_is(run: Callable[..., Result], domain: str, message: str) -> None:
    assert message in run("evaluate", "cells", "--domain", domain, code=2).stderr


def test_the_untouched_base_alone(run: Callable[..., Result], storage: Path) -> None:
    beside = rows(run("evaluate", "cells", "--domain", "noisy", "--format", "json"))
    alone = rows(run("evaluate", "cells", "--untouched", "--domain", "noisy", "--format", "json"))
    of_file = run("evaluate", str(storage / "trained" / "cells.yaml"), "--untouched", "--format", "json")
    assert list(alone) == [("untouched", None), ("untouched", "noisy")]
    for domain in (None, "noisy"):
        assert alone["untouched", domain] == beside["untouched", domain] == rows(of_file)["untouched", domain]
    assert json.loads(of_file.stdout)["weights"] is None
    assert rows(run("evaluate", "digits", "--untouched", "--data", str(storage / "trained/cells.yaml"),
                    "--format", "json"))["untouched", None] == alone["untouched", None]  # fmt: skip


def masks(root: Path, classes: str, order: tuple[int, ...]) -> Path:
    """The clean scenes of DATA as image and mask folders, mask values numbered by `order`."""
    from trainables.data.digits import DigitSample
    from trainables.specs.data import Domain, EmbeddedData, Split

    spec = EmbeddedData(domain=Domain.CLEAN, train=16, validation=4, test=4)
    lines = ["data:", "  masks:"]
    for split, count in ((Split.TRAIN, 4), (Split.VALIDATION, 2), (Split.TEST, 4)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "masks").mkdir()
        for index in range(count):
            sample = DigitSample(spec, split, index)
            sample.image().save(root / split / "images" / f"{index}.png")
            mask = np.array(order, np.uint8)[np.asarray(sample.mask())]
            Image.fromarray(mask).save(root / split / "masks" / f"{index}.png")
        lines.append(f"    {split}: {{images: {split}/images, masks: {split}/masks}}")
    path = root / "data.yaml"
    path.write_text("\n".join([*lines, f"    classes: [{classes}]\n"]))
    return path


DIGITS = ["background", *map(str, range(10))]


def test_other_data_may_number_the_classes_in_its_own_way(run: Callable[..., Result], tmp_path: Path) -> None:
    names = [DIGITS[0], *reversed(DIGITS[1:])]
    data = masks(tmp_path / "reversed", ", ".join(f"'{n}'" for n in names), (0, *range(10, 0, -1)))
    own = rows(run("evaluate", "cells", "--format", "json"))["adapter", None]["figures"]
    other = rows(run("evaluate", "cells", "--data", str(data), "--format", "json"))
    assert list(other) == [("adapter", None), ("untouched", None)]
    assert other["adapter", None]["figures"] == pytest.approx(own)
    assert f"on test images of {data}" in run("evaluate", "cells", "--data", str(data)).stdout


def test_a_class_that_the_adapter_does_not_know_is_named(run: Callable[..., Result], tmp_path: Path) -> None:
    names = [*DIGITS[:-1], "nucleus"]
    data = masks(tmp_path / "other", ", ".join(f"'{n}'" for n in names), tuple(range(11)))
    said = run("evaluate", "cells", "--data", str(data), code=2).stderr
    assert "'nucleus'" in said
    assert "background, 0, 1" in said


def test_a_data_file_with_faults_is_told_with_its_lines(run: Callable[..., Result], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nspace: {nonsense: 1}\ndata:\n  embedded: {domain: dark}\n")
    said = run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    assert "line 4" in said
    assert "data.embedded.domain" in said
    assert "nonsense" not in said
    wrong.write_text("name: x\n")
    assert "has no `data` section" in run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    wrong.write_text("data: {coco: {train: {images: a, annotations: b}}}\n")
    assert "has no masks" in run("evaluate", "cells", "--data", str(wrong), code=2).stderr
    assert "there is no file" in run("evaluate", "cells", "--data", str(tmp_path / "no.yaml"), code=2).stderr


def test_a_base_without_a_head_for_the_classes_says_nothing(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    data = masks(tmp_path / "nuclei", "ground, thing", (0, *[1] * 10))
    path = file(data.with_name("one.yaml"), "segmentation", data=data.read_text().split("\n", 1)[1].strip())
    said = run("evaluate", str(path), "--untouched", code=2).stderr
    assert "the base model has no head for 'ground', 'thing'" in said


def test_no_test_images_is_a_sentence(run: Callable[..., Result], tmp_path: Path) -> None:
    data = file(tmp_path / "none.yaml", "segmentation",
                data="masks:\n    train: {images: i/train/images, masks: i/train/masks}\n"
                f"    classes: [{', '.join(repr(n) for n in DIGITS)}]\n"
                "  splits: {train: 0.5, validation: 0.5, test: 0}")  # fmt: skip
    masks(tmp_path / "i", "a, b", tuple(range(11)))
    said = run("evaluate", "cells", "--data", str(data), code=2).stderr
    assert "the data has no test images; use --split validation" in said
    assert "2" in run("evaluate", "cells", "--data", str(data), "--split", "validation").stdout


def documented(heading: str) -> set[str]:
    """The keys that docs/commands.md describes under a heading."""
    text = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    names = re.findall(
        r"`([a-z_]+(?:\[\]\.[a-z_]+)?)`", "\n".join(re.findall(r"^\| (`.+?) \|", section, re.M))
    )
    return set(names)


def keys(value: dict[str, Any]) -> set[str]:
    """Keys, and those of the items of a list as `list[].key`."""
    found = set()
    for name, inner in value.items():
        nested = isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict)
        found |= {f"{name}[].{key}" for key in inner[0]} if nested else {name}
    return found


def test_the_docs_describe_every_key(run: Callable[..., Result], images: Path, tmp_path: Path) -> None:
    assert documented("evaluate") == keys(json.loads(run("evaluate", "cells", "--format", "json").stdout))
    written = {"image", "width", "height", "adapter"}
    for name in ("cells", "boxes"):
        run("predict", name, str(images / "0.png"), "--to", str(tmp_path / name))
        written |= keys(json.loads((tmp_path / name / "0.json").read_text()))
    assert documented("predict") | {"image", "width", "height", "adapter"} == written


# --- predict ----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    masks(tmp_path / "scenes", "a, b", tuple(range(11)))
    return tmp_path / "scenes" / "validation" / "images"


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
    assert "score of 0.5 or more" in run("predict", "boxes", str(images / "0.png"), "--to", str(to)).stdout
    few = json.loads((to / "0.json").read_text())
    run("predict", "boxes", str(images / "0.png"), "--to", str(to), "--threshold", "0")
    many = json.loads((to / "0.json").read_text())
    assert (few["threshold"], many["threshold"]) == (0.5, 0.0)
    assert len(few["detections"]) < len(many["detections"]) == 10
    assert all(row["score"] >= 0.5 for row in few["detections"])
    assert sorted(p.name for p in to.iterdir()) == ["0.json", "0.png"]


def test_an_image_that_cannot_be_read_is_named_and_the_others_go_on(
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
    assert "name another folder with --to" in said
    assert (images / "0.png").read_bytes() == before


def test_a_threshold_is_of_boxes(run: Callable[..., Result], images: Path) -> None:
    assert "leave it out" in run("predict", "cells", str(images), "--threshold", "0.2", code=2).stderr


# --- names, export ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [("digits:2", "trial 2"), ("digits:best", "trial 0"), ("digits", "trial 0"), ("cells", "one in cells")],
)
def test_export_gets_the_adapter_by_its_name(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, title: str
) -> None:
    given: list[tuple[TrainedAdapter, Path, bool]] = []
    monkeypatch.setattr(
        "tuning.cli.commands.export.export", lambda found, to, *, merge: given.append((found, to, merge))
    )
    run("export", name, "--to", str(tmp_path / "out"), "--merge")
    ((found, to, merge),) = given
    assert title in found.title
    assert (to, merge) == (tmp_path / "out", True)


def test_a_trial_without_weights_names_those_that_have_some(run: Callable[..., Result]) -> None:
    for command in (["evaluate"], ["predict", "x.png"], ["export", "--to", "out"]):
        said = run(command[0], "digits:3", *command[1:], code=2).stderr
        assert "trials with weights: 0, 2" in said
