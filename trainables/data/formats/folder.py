"""Data that are given as a folder alone: what lies there, and the section that it stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainables.data.formats.folder_files import Listing
from trainables.data.formats.folder_search import Candidate, candidates
from trainables.data.sample import need_folder
from trainables.errors import DataError
from trainables.specs.data import DataSpec
from trainables.specs.workload import Task, Workload


@dataclass(frozen=True)
class Given:
    """The data as they are declared or found. said: what was found, in words; '' for declared data."""

    data: DataSpec
    said: str = ""


def given_data(workload: Workload) -> Given:
    """The data of a workload, with what a folder holds in its place. Raises DataError."""
    return found_data(workload.given_data, workload.task)


def found_data(data: DataSpec, task: Task) -> Given:
    """The data with what lies in `data.folder` declared. Raises DataError for nothing, or several things."""
    if data.folder is None:
        return Given(data)
    held = Listing.of(need_folder(data.folder, what="data.folder"))
    all_ = candidates(held)
    fitting = [each for each in all_ if task.value in each.tasks]
    if len(fitting) != 1:
        raise DataError(_message(data.folder, held, all_, fitting, task))
    (found,) = fitting
    if found.needs:
        raise DataError(
            f"data.folder: {data.folder} holds {found.said}, but it needs {found.needs}; declare it, such "
            "as\n"
            f"{_section(found)}"
        )
    source = {found.kind: dict(found.section)}
    rest = data.model_dump(mode="json", exclude={"folder", found.kind}, exclude_none=True)
    return Given(DataSpec.model_validate_json(json.dumps(rest | source)), found.said)


def _message(folder: str, held: Listing, all_: list[Candidate], fitting: list[Candidate], task: Task) -> str:
    if fitting:
        listed = "\n".join(f"  {each.said}\n{_section(each)}" for each in fitting)
        return (
            f"data.folder: {folder} holds data in several formats; declare the one that is meant in its "
            f"place:\n{listed}"
        )
    for_others = f"; for another task there is {'; '.join(each.said for each in all_)}" if all_ else ""
    return (
        f"data.folder: {folder} must hold COCO JSON, a YOLO data.yaml, Pascal VOC's XML, LabelMe's JSON, or "
        f"folders of images and masks for task {task}, but none was found{for_others}; it holds "
        f"{held.in_words()}. Declare what it is: data.coco, data.yolo, data.voc, data.labelme, data.masks or "
        "data.hub"
    )


def _section(found: Candidate) -> str:
    return f"    data: {json.dumps({found.kind: found.section}, ensure_ascii=False)}"
