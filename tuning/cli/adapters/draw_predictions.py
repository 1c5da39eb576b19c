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
    trained: TrainedAdapter, images: Sequence[Path], to: Path, *, threshold: float | None
) -> None:
    """Predict every image, print a line for each, and exit with code 1 if one could not be read.

    to: created if absent; NAME.png, NAME.json and for masks NAME.mask.png are written there.
    """
    if threshold is not None and not trained.workload.task.facts.boxes:
        raise AdaptertuneError("--threshold applies to boxes, and this adapter predicts masks; leave it out")
    found, errors = image_files(images, results=to)
    _protect_inputs(found, to)
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
        prediction = predict_image(model, image, threshold=THRESHOLD if threshold is None else threshold)
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
        print_lines(out, f"{done} drawn in {to}, each with a JSON file" + _threshold_note(trained, threshold))
    if errors:
        raise typer.Exit(FAILED)


def _threshold_note(trained: TrainedAdapter, threshold: float | None) -> str:
    if not trained.workload.task.facts.boxes:
        return ""
    return f"; boxes with a score of {THRESHOLD if threshold is None else threshold:g} or more"


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


def _drawn_file(base: Path) -> Path:
    return base.with_name(base.name + ".png")


def _mask_file(base: Path) -> Path:
    return base.with_name(base.name + ".mask.png")


def _json_file(base: Path) -> Path:
    return base.with_name(base.name + ".json")
