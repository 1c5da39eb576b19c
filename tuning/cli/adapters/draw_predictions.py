"""Draws the predictions of a trained adapter and writes them as JSON, for `predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from PIL import Image

from trainables.errors import AdaptertuneError, DataError, StorageError
from trainables.inference.predict import THRESHOLD, ImageFile, Mask, image_files, predict_image
from tuning.checkpoints.trained_adapter import TrainedAdapter
from tuning.cli.console import console, print_lines
from tuning.exit_codes import FAILED
from tuning.messages import say


def draw_predictions(
    trained: TrainedAdapter,
    images: Sequence[Path],
    to: Path,
    *,
    threshold: float | None,
    replace: bool = False,
) -> None:
    """Predict every image, print a line for each, and exit with code 1 if one could not be read.

    to: created if absent; NAME.png, NAME.json and for masks NAME.mask.png are written there.
    threshold: the lowest score of a box; when absent the adapter's own, or else `THRESHOLD`.
    replace: whether results that are there already are replaced.
    Raises StorageError if a result would replace an image that was given, or without `replace` any file.
    """
    if threshold is not None and not trained.workload.task.facts.boxes:
        raise AdaptertuneError("--threshold applies to boxes, and this adapter predicts masks; leave it out")
    found, errors = image_files(images, results=to)
    _protect_inputs(found, to)
    if not replace:
        _protect_results(found, to, masks=not trained.workload.task.facts.boxes)
    lowest, origin = _threshold(trained, threshold)
    out = console()
    model = trained.load() if found else None
    done = 0
    for picture in found:
        assert model is not None
        try:
            image = picture.open(bits=trained.workload.data.bits)
        except DataError as error:
            errors.append(str(error))
            continue
        prediction = predict_image(model, image, threshold=lowest)
        base = to / picture.name
        base.parent.mkdir(parents=True, exist_ok=True)
        prediction.drawn(image).save(_drawn_file(base))
        record = {
            "image": str(picture.path),
            "width": image.width,
            "height": image.height,
            "adapter": trained.title,
        }
        if isinstance(prediction, Mask):
            Image.fromarray(prediction.mask).save(_mask_file(base))
            record["mask"] = _mask_file(base).name
        text = json.dumps(record | prediction.record(), indent=1, ensure_ascii=False)
        _json_file(base).write_text(text + "\n", encoding="utf-8")
        print_lines(out, f"{picture.path}  {prediction.summary()}")
        done += 1
    for message in errors:
        say(message)
    if done:
        boxes = trained.workload.task.facts.boxes
        note = f"; boxes with a score of {lowest:.4g} or more{origin}" if boxes else ""
        print_lines(out, f"{done} drawn in {to}, each with a JSON file{note}")
    if errors:
        raise typer.Exit(FAILED)


def _threshold(trained: TrainedAdapter, asked: float | None) -> tuple[float, str]:
    """The lowest score of a box, and where it comes from, in words."""
    if asked is not None:
        return asked, ""
    if (own := trained.score_threshold) is not None:
        return own, ", which gives the highest F1 on its validation images; --threshold sets another"
    return THRESHOLD, ", as training chose no threshold; --threshold sets another"


def _protect_inputs(found: Sequence[ImageFile], to: Path) -> None:
    """Raise StorageError if a result would replace an image that was given."""
    given = {picture.path.resolve() for picture in found}
    for picture in found:
        for result in (_drawn_file(to / picture.name), _mask_file(to / picture.name)):
            if result.resolve() in given:
                raise StorageError(
                    f"{result} is one of the images, and a result would replace it;"
                    " choose another folder with --to"
                )


def _protect_results(found: Sequence[ImageFile], to: Path, *, masks: bool) -> None:
    """Raise StorageError if a result is there already."""
    for picture in found:
        base = to / picture.name
        for result in (_drawn_file(base), _json_file(base), *([_mask_file(base)] if masks else [])):
            if result.exists():
                raise StorageError(
                    f"{result} already exists; choose another folder with --to, or --replace to write over it"
                )


def _drawn_file(base: Path) -> Path:
    return base.with_name(base.name + ".png")


def _mask_file(base: Path) -> Path:
    return base.with_name(base.name + ".mask.png")


def _json_file(base: Path) -> Path:
    return base.with_name(base.name + ".json")
