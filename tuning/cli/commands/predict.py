"""What `adaptertune predict` does: boxes or masks of images, drawn, and as JSON beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from trainables.errors import AdaptertuneError, DataError, StorageError
from trainables.inference.predict import THRESHOLD, ImageFile, Mask, Prediction, image_files, predict_image
from tuning.checkpoints.trained_adapter import TrainedAdapter
from tuning.cli.console import console, lines
from tuning.messages import FAILED, say


def run(trained: TrainedAdapter, images: Sequence[Path], to: Path, *, threshold: float | None) -> None:
    """Predicts every image, prints a line each, and ends with exit code 1 if one could not be read.

    to: made if absent; NAME.png, NAME.json and for masks NAME.mask.png go there.
    """
    if threshold is not None and not trained.workload.task.facts.boxes:
        raise AdaptertuneError("--threshold is of boxes, and this adapter gives masks; leave it out")
    found, faults = image_files(images, results=to)
    _spare(found, to)
    out = console()
    model = trained.load() if found else None
    done = 0
    for picture in found:
        assert model is not None
        try:
            image = picture.open()
        except DataError as error:
            faults.append(str(error))
            continue
        seen = predict_image(model, image, threshold=THRESHOLD if threshold is None else threshold)
        base = to / picture.name
        base.parent.mkdir(parents=True, exist_ok=True)
        seen.drawn(image).save(_drawn(base))
        record = {
            "image": str(picture.path),
            "width": image.width,
            "height": image.height,
            "adapter": trained.title,
        }
        if isinstance(seen, Mask):
            _save_mask(seen, _mask(base))
            record["mask"] = _mask(base).name
        text = json.dumps(record | seen.record(), indent=1, ensure_ascii=False)
        _json(base).write_text(text + "\n", encoding="utf-8")
        lines(out, f"{picture.path}  {seen.summary()}")
        done += 1
    for fault in faults:
        say(fault)
    if done:
        lines(out, f"{done} drawn in {to}, each with a JSON file beside" + _hint(trained, threshold))
    if faults:
        raise typer.Exit(FAILED)


def _hint(trained: TrainedAdapter, threshold: float | None) -> str:
    if not trained.workload.task.facts.boxes:
        return ""
    return f"; boxes with a score of {THRESHOLD if threshold is None else threshold:g} or more"


def _save_mask(seen: Prediction, path: Path) -> None:
    from PIL import Image

    assert isinstance(seen, Mask)
    Image.fromarray(seen.mask).save(path)


def _spare(found: Sequence[ImageFile], to: Path) -> None:
    """Raises StorageError if a result would take the place of an image that was given."""
    given = {picture.path.resolve() for picture in found}
    for picture in found:
        for result in (_drawn(to / picture.name), _mask(to / picture.name)):
            if result.resolve() in given:
                raise StorageError(
                    f"{result} is one of the images, and a result would replace it;"
                    " name another folder with --to"
                )


def _drawn(base: Path) -> Path:
    return base.with_name(base.name + ".png")


def _mask(base: Path) -> Path:
    return base.with_name(base.name + ".mask.png")


def _json(base: Path) -> Path:
    return base.with_name(base.name + ".json")
