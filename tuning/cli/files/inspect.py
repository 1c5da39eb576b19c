"""The command `inspect`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.completion import complete_file
from tuning.cli.options import Sets
from tuning.messages import print_answer

if TYPE_CHECKING:
    from trainables.inspection.inspection import Subject

IMAGES = 24


class InspectedTask(StrEnum):
    """The tasks that a folder can be looked at for; a test compares them with `Task`."""

    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    INSTANCE_SEGMENTATION = "instance_segmentation"


def run_inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="An experiment file, the name of one that ships (see `adaptertune spaces`), or a folder "
            "of data.",
            autocompletion=complete_file,
        ),
    ],
    set_: Sets = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Write inspection.html, one page with pictures, and contact-sheet.png into this folder.",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, max=400, help="How many images are drawn.")
    ] = IMAGES,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A hub id, a folder in hub format or 'embedded': images at its size, and its classes. "
            "Default: the model of FILE.",
        ),
    ] = None,
    task: Annotated[
        InspectedTask | None,
        typer.Option("--task", help="Of a FOLDER: look at its boxes or at its masks. Default: what it has."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print everything that was found as JSON.")] = False,
) -> None:
    """Look at data before any training: what they are, what is wrong with them, and pictures of them.

    Every image is read, checked and resized as for training, and nothing is trained or kept. The answer says:

    - whether training would refuse the data, and why
    - images, sizes, and objects by class, by part and by COCO's sizes
    - errors by name, and what preparation warns of
    - signs of faults that a converter may have left, such as boxes that are off by one pixel
    - images that are in two parts, by content or by name
    - which classes the model's checkpoint knows

    `--to DIR` also draws images with their boxes or masks at the size that the model sees: first those with
    errors, also if training refuses the data. The exit code is 2 if training would refuse the data.

    Examples:

        adaptertune inspect experiment.yaml --to look
        adaptertune inspect photos --model hustvl/yolos-tiny --to look
    \f
    In `DIR` are:

    - `inspection.html`: the page, with all pictures in it; it needs no network and no other file
    - `contact-sheet.png`: the same pictures on one sheet; a red frame marks an image with an error, an
      orange one an image that shows a sign

    Files of an earlier inspection there are replaced, each as a whole. Boxes are drawn as they were read, so
    that wrong ones can be seen: those that training drops or cuts are marked `(wrong)`, and grey ground shows
    how far boxes pass the border. An image that cannot be read is shown as its file opens, or as text.

    In a FOLDER, the formats of `data: {folder: PATH}` are recognised; what was found is said first. COCO JSON
    and folders of images and masks that an experiment would have to declare are looked at, too. Without a
    model, images are shown in their own size, up to 1024 pixels. Parts that the data do not name are split
    off as an experiment would by default.

    `--json` prints an object with these keys: `title`, `task`, `data` (its kind), `notes`, `model`;
    `refusals`; `parts` and `classes`, each with counts and `sizes` (small, medium, large); `image_sizes`;
    `faults` (`count`, and `first`, the first 1,000); `warnings`; `signs`; `leaks` (`kind`, `across_parts`,
    `images`); `checkpoint_classes` (`labels`, `matches`, `verdict`, `refused`; null without a model); and
    `shown`, the images that are drawn with the reasons.

    A sign is not an error: data with a sign may be right, which the pictures show. Classes and flags that a
    converter changed cannot be restored by a reader.
    """
    from trainables.inspection.inspection import inspect_data
    from tuning.cli.files.inspection_files import check_folder, write_inspection
    from tuning.cli.files.inspection_text import inspection_lines
    from tuning.exit_codes import USER_ERROR

    if to is not None:
        check_folder(to)
    subject = _subject(source, set_ or [], model, task)
    found = inspect_data(subject, images=images, progress=True)
    written = [] if to is None else write_inspection(found, to)
    if json_:
        import json

        from trainables.wording import printable

        print_answer(printable(json.dumps(found.record(), indent=1, ensure_ascii=False)))
    else:
        from tuning.cli.console import console, print_lines

        print_lines(console(), *inspection_lines(found))
        if to is None:
            print_lines(console(), "", "`--to DIR` writes a page and a contact sheet with pictures")
        for path in written:
            print_answer(str(path))
    if found.refusals:
        raise typer.Exit(USER_ERROR)


def _subject(source: str, overrides: list[str], model: str | None, task: InspectedTask | None) -> Subject:
    """What is inspected. Raises DataError, ExperimentFileError, or ModelError for a `model` that fails."""
    from trainables.errors import AdaptertuneError
    from trainables.specs.workload import ModelSpec, Task

    named = None if model is None else ModelSpec(name=model)
    if Path(source).is_dir():
        from trainables.inspection.folders import subject_of_folder

        if overrides:
            raise AdaptertuneError("--set replaces keys of an experiment file, and this is a folder of data")
        subject = subject_of_folder(Path(source), task=None if task is None else Task(task), model=named)
    else:
        from trainables.inspection.inspection import Subject
        from tuning.experiment.load import load_experiment

        if task is not None:
            raise AdaptertuneError("--task is for a folder of data; an experiment file names its task")
        experiment = load_experiment(source, overrides)
        workload = experiment.workload
        if named is not None:
            workload = workload.model_copy(update={"model": named})
        subject = Subject(
            title=experiment.name,
            task=experiment.task,
            data=workload.given_data,
            model=workload.model,
            workload=workload,
        )
    if named is not None:  # before all images are read
        subject.size()
    return subject
