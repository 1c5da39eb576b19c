"""What prepared data depend on, by content: the fingerprint's definition 2.

Names are relative to the folders that the experiment names, so a copy of the data elsewhere, with other
times, is the same data. Only files that the data use count: files with an image's suffix in folders of
images and masks, the images that a COCO JSON file lists, the file itself, and all files of a local copy of
a hub data set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import JsonValue

from trainables.data.content.cache_folder import cache_root
from trainables.data.content.digests import ABSENT, FOLDER, digest_files, digest_folder, digest_of
from trainables.data.domain_parts import domain_parts
from trainables.data.formats.labelme import labelme_files
from trainables.data.formats.voc import voc_files
from trainables.data.formats.yolo import Given as YoloGiven
from trainables.data.formats.yolo import domain_parts_of, own_parts, yolo_files
from trainables.data.formats.yolo_file import load_yolo_file
from trainables.data.hub import hub_identity, hub_settings
from trainables.data.sample import need_folder
from trainables.errors import DataError, StorageError
from trainables.specs.data import (
    CocoData,
    CocoPart,
    DataSpec,
    DomainSpec,
    HubData,
    MaskData,
    MaskPart,
    Source,
    Split,
)
from trainables.specs.data_formats import LabelmeData, LabelmePart, VocData, VocPart, YoloData

Content = dict[str, dict[str, str]]
"""The digest of each file by its name, for each part: `train.images`, `train.masks`, `train.annotations`."""
MANIFEST = "content.json"
"""The file in a folder of prepared data that holds their `Content`."""


def source_content(data: DataSpec) -> Content:
    """The files of the data's source. Raises DataError if a folder does not exist or a file changes."""
    source = data.source
    match source:
        case MaskData() | CocoData() | VocData() | LabelmeData():
            parts = {split: part for split in Split if (part := getattr(source, split)) is not None}
            return _of_parts({f"{split}.": (f"data.{data.kind}.{split}", p) for split, p in parts.items()})
        case YoloData():
            return _of_yolo(own_parts(load_yolo_file(source.file)))
        case HubData():
            folder = Path(source.path)
            return {"files": digest_folder(folder)} if folder.is_dir() else {}
        case _:
            return {}


def domain_content(name: str, domain: DomainSpec, data: DataSpec) -> Content:
    """The files of a domain's own images; errors as `source_content`."""
    if domain.hub is not None and isinstance(data.source, HubData):
        return source_content(data)
    given = {split: (f"{at}.{part.kind}", part) for split, (at, part) in domain_parts(name, domain).items()}
    if domain.yolo is not None:
        named = {split: (where, part.yolo) for split, (where, part) in given.items() if part.yolo is not None}
        return _of_yolo(domain_parts_of(named))
    return _of_parts(
        {
            f"{split}.": (where, own)
            for split, (where, part) in given.items()
            if (own := part.masks or part.coco or part.voc or part.labelme) is not None
        }
    )


def source_identity_by_content(data: DataSpec, digests: Content) -> JsonValue:
    """All that the source's content depends on: its settings without paths, and its files."""
    source = data.source
    if isinstance(source, HubData):
        return {"hub": _hub_identity(source, digests)}
    return {data.kind: _settings(source), "given": _part_settings(source), "content": _short(digests)}


def domain_identity_by_content(name: str, domain: DomainSpec, data: DataSpec, digests: Content) -> JsonValue:
    """As `source_identity_by_content`, of a domain's own images. Raises DataError if it does not fit."""
    source = data.source
    if (unfit := data.unfit(domain)) is not None:
        raise DataError(f"data.domains.{name}: {unfit}")
    if isinstance(source, HubData) and domain.hub is not None:
        validation = domain.validation.hub if domain.validation is not None else None
        update = {"train": domain.hub, "validation": validation, "test": None}
        return {"hub": _hub_identity(source.model_copy(update=update), digests)}
    own = {str(s): _part(part.images) for s, (_, part) in domain_parts(name, domain).items()}
    return {data.kind: _settings(source), "given": own, "content": _short(digests)}


def write_manifest(folder: Path, content: Content) -> None:
    """Keep the digests with the prepared data, so that a later difference can be named by file."""
    if not content:
        return
    try:
        (folder / MANIFEST).write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {folder / MANIFEST}: {error.strerror}; free space there") from error


def differing_files(prepared: Path, now: Content) -> list[str] | None:
    """How files differ from those that `prepared` was made of; None if that is not known."""
    try:
        before: Content = json.loads((prepared / MANIFEST).read_bytes())
        return list(_differences(before, now))
    except (OSError, ValueError, AttributeError):
        return None


def _differences(before: Content, now: Content) -> Iterator[str]:
    for label in {**before, **now}:
        was, held = before.get(label, {}), now.get(label, {})
        for name in sorted({**was, **held}):
            shown = f"{label.replace('.', ' ')}: {name}" if name else label.replace(".", " ")
            old, new = was.get(name, ABSENT), held.get(name, ABSENT)
            if old == new:
                continue
            yield f"{shown} is " + (
                "missing" if new == ABSENT else "new" if old == ABSENT else "another file"
            )


# --- the files of a part ----------------------------------------------------------------------


def _of_parts(given: Mapping[str, tuple[str, MaskPart | CocoPart | VocPart | LabelmePart]]) -> Content:
    """label: the beginning of the part's labels, with the key of the part for errors."""
    found: Content = {}
    for label, (where, part) in given.items():
        if isinstance(part, MaskPart):
            found[f"{label}images"] = _folder(part.images, f"{where}.images")
            found[f"{label}masks"] = _folder(part.masks, f"{where}.masks")
        elif isinstance(part, VocPart):
            for kind, files in voc_files(part, where).items():
                found[f"{label}{kind}"] = digest_files(files, f"{os.path.realpath(part.annotations)}\n{kind}")
        elif isinstance(part, LabelmePart):
            for kind, files in labelme_files(part, where).items():
                found[f"{label}{kind}"] = digest_files(files, f"{os.path.realpath(part.folder)}\n{kind}")
        else:
            file = _annotations(part.annotations, f"{where}.annotations")
            found[f"{label}annotations"] = {"": file}
            folder = need_folder(part.images, what=f"{where}.images")
            found[f"{label}images"] = _listed(folder, Path(part.annotations), file)
    return found


def _of_yolo(given: YoloGiven) -> Content:
    """The images and labels of the parts, and what their `data.yaml` says of labels."""
    found: Content = {}
    for split, (_, file, _) in given.items():
        found[f"{split}.names"] = {"": digest_of({"names": file.meaning})}
    for label, files in yolo_files(given).items():
        file = given[Split(label.partition(".")[0])][1]
        found[label] = digest_files(files, f"{os.path.realpath(file.path)}\n{label}")
    return found


def _folder(path: str, where: str) -> dict[str, str]:
    """The image files below a folder."""
    return digest_folder(need_folder(path, what=where), frozenset(Image.registered_extensions()))


def _annotations(path: str, where: str) -> str:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise DataError(f"{where} must be a COCO JSON file: {error}") from error
    return digest_files({"": Path(path)}, os.path.realpath(path))[""]


def _listed(folder: Path, annotations: Path, digest: str) -> dict[str, str]:
    """The images that a COCO JSON file lists. If one is not where it says, all files below `folder` count,
    because a file with a similar name may be read in its place, or come later.
    """
    names = _names(annotations, digest)
    scope = f"{os.path.realpath(folder)}\n{os.path.realpath(annotations)}"
    found = digest_files({name: folder / name for name in names}, scope)
    if not names or ABSENT in found.values():
        found |= digest_folder(folder)
    return found


def _names(annotations: Path, digest: str) -> list[str]:
    """The file names in a COCO JSON file, kept by its digest: parsing a large file takes seconds.

    Empty if the file is not as it must be; the reader says what is wrong.
    """
    kept = cache_root() / FOLDER / f"names-{digest}.json"
    try:
        names = json.loads(kept.read_bytes())
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    except (OSError, ValueError):
        pass
    try:
        listed = json.loads(annotations.read_bytes())["images"]
        names = [entry["file_name"] for entry in listed]
        if not all(isinstance(name, str) and name for name in names):
            return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(names), encoding="utf-8")
        os.replace(temporary, kept)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return names


# --- settings ---------------------------------------------------------------------------------


def _settings(source: Source) -> JsonValue:
    """The settings of a source without parts, paths and defaults, so that new settings change nothing."""
    settings: JsonValue = source.model_dump(mode="json", exclude={*Split, "file"}, exclude_defaults=True)
    return settings


def _part_settings(source: Any) -> dict[str, JsonValue]:
    return {str(s): _part(part) for s in Split if (part := getattr(source, s, None)) is not None}


def _part(part: Any) -> JsonValue:
    paths = {"images", "masks", "annotations", "list", "file", "folder"}
    settings: JsonValue = part.model_dump(mode="json", exclude=paths, exclude_defaults=True)
    return settings


def _hub_identity(source: HubData, digests: Content) -> JsonValue:
    if not Path(source.path).is_dir():
        return hub_identity(source)  # names the revision's commit
    settings = {
        key: value
        for key, value in hub_settings(source).items()
        if key != "path" and value != getattr(HubData.model_fields[key], "default", None)
    }
    return {"spec": settings, "content": _short(digests)}


def _short(content: Content) -> JsonValue:
    return {label: digest_of(files) for label, files in content.items()}
