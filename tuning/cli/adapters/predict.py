"""The command `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuning.cli.options import Adapter, Storage


def run_predict(
    adapter: Adapter,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES…", help="Image files, or folders of them.")],
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for the results, created if absent.")
    ] = Path("predictions"),
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="The lowest score of a box that is drawn. Default: the adapter's own, chosen in training.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over results that are there already.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Draw the predictions of a trained adapter on images: boxes or masks, each with a JSON file.

    Example:

        adaptertune predict cells:best photo.jpg slides/ --to predictions

    In folders, images are found at any depth. An image that cannot be read is named, the others continue,
    and the exit code is then 1.
    \f
    ADAPTER is as for `evaluate`.

    Each image gives files in `--to`, under its own name, or its path below the folder: `NAME.png`, the image
    with boxes, or masks and a legend, in colours that colour-blind readers can tell apart (small images are
    enlarged); `NAME.json`; and for masks `NAME.mask.png`, class indices at the size of the image. If one of
    these files is there already, nothing is drawn, unless `--replace` is given; an image that was given is
    never replaced.

    Images are resized and scaled as in training; the results are in the pixels of the image itself. A photo
    with an EXIF orientation is turned upright first, and pixels count in the turned image.

    `--threshold` affects only what is drawn and written here: evaluation uses all scores. Its default is the
    score with the highest F1 on the adapter's validation images: a box is right if its IoU with a free object
    of its class is at least 0.5; boxes and objects of all classes are counted together. It was computed at
    the report whose weights are kept, and is `score_threshold` among that report's metrics. Adapters without
    one (no box was right, or the run was recorded by an earlier version) use 0.5.

    Every `NAME.json` has `image` (the path as given), `width`, `height` and `adapter`. Boxes:

    - `threshold`: the lowest score
    - `detections[].bbox`: `[x, y, width, height]` in pixels, as in COCO, cut to the image; the highest score
      first, at most 100
    - `detections[].label`: the name of the class
    - `detections[].category_id`: its index in the adapter's classes, from 0
    - `detections[].score`: from 0 to 1
    - `detections[].segmentation`: of an adapter for instance masks: the mask in the image's pixels, as
      `size` (`[height, width]`) and `counts`, COCO's compressed run-length encoding

    Masks:

    - `mask`: the name of the mask's file, in the same folder
    - `classes[].label`: a class
    - `classes[].value`: its value in the mask
    - `classes[].pixels`: the number of its pixels
    - `classes[].share`: its share of the image
    """
    from tuning.cli.find_adapter import find_adapter

    trained = find_adapter(adapter, storage)
    from tuning.cli.adapters.draw_predictions import draw_predictions  # torch

    draw_predictions(trained, images, to, threshold=threshold, replace=replace)
