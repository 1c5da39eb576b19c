"""What can be said of data and model in a moment, without reading all images, for `validate`.

Whatever it finds would stop the preparation too; what it does not find may still be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainables.data.coco import class_names, require_shapes
from trainables.data.domain_parts import domain_parts
from trainables.data.files.coco_file import CocoFile, load_coco_file
from trainables.data.files.drawn_masks import with_background
from trainables.data.files.file_names import Folder, is_file
from trainables.data.files.mask_code import MaskCode, mask_code
from trainables.data.files.mask_pairs import find_pairs
from trainables.data.files.mask_pixels import read_mask
from trainables.data.formats.folder import given_data
from trainables.data.formats.hub_masks import read_hub_masks
from trainables.data.formats.hub_table import is_saved
from trainables.data.formats.labelme import check_labelme
from trainables.data.formats.voc import check_voc
from trainables.data.formats.yolo import check_part, check_yolo, domain_parts_of
from trainables.data.formats.yolo_file import load_yolo_file
from trainables.data.hub import hub_parts, read_hub_parts
from trainables.data.sample import check_names_alike, need_folder, unknown_classes
from trainables.errors import DataError
from trainables.specs.data import CocoPart, DataSpec, DomainPart, MaskData, MaskPart, Split
from trainables.specs.data_formats import LabelmePart, VocPart, YoloPart
from trainables.specs.workload import Workload
from trainables.wording import plural

LARGEST_FILE = 200 * 2**20
"""Bytes of an annotation file above which it is not read here."""
PROBED = 20
"""Images of a part that are looked for."""

Fault = tuple[str, str]
"""A key of the experiment file, and what is wrong."""


@dataclass(frozen=True)
class QuickLook:
    """What was found. An empty list of faults promises nothing about the pixels.

    classes: the data's class names as far as they are known without preparation; empty if they are not.
    found: what lies in a folder that is given alone, in words.
    """

    faults: tuple[Fault, ...]
    classes: tuple[str, ...]
    found: str = ""


def quick_look(workload: Workload) -> QuickLook:
    """The faults, each with the key of the experiment file, and the classes; each file is read once."""
    if workload.data.folder is None:
        return _look(workload)
    try:
        given = given_data(workload)
    except DataError as error:
        fault = ("data.folder", str(error).removeprefix("data.folder: "))
        return QuickLook((*_model(workload), fault), ())
    look = _look(workload.model_copy(update={"data": given.data}))
    unfit = tuple(
        (f"data.domains.{name}", why)
        for name, domain in given.data.domains.items()
        if (why := given.data.unfit(domain)) is not None
    )
    return QuickLook((*look.faults, *unfit), look.classes, given.said)


def _look(workload: Workload) -> QuickLook:
    data = workload.data
    own: list[tuple[str, CocoFile]] = []
    masks = workload.task.facts.masks
    outlined = masks or workload.task.facts.instances
    faults = (*_model(workload), *_data(data, own, outlined), *_hub(workload))
    if data.masks is not None:
        return QuickLook(faults, data.masks.classes)
    if data.hub is not None:
        return QuickLook(faults, data.hub.classes or ())
    if (kept := data.voc or data.labelme) is not None:
        names = kept.classes or ()
        return QuickLook(faults, with_background(names) if masks and names else names)
    if data.yolo is not None:
        names = () if faults else load_yolo_file(data.yolo.file).classes
        return QuickLook(faults, with_background(names) if masks and names else names)
    # All files together name the classes: one that was not read may name more.
    given = 0 if data.coco is None else sum(_part(data.coco, split) is not None for split in Split)
    names = class_names([file for _, file in own]) if own and len(own) == given else ()
    return QuickLook(faults, with_background(names) if masks and names else names)


def _model(workload: Workload) -> Iterator[Fault]:
    name = workload.model.name
    path = Path(name).expanduser()
    local = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if name == "embedded" or not (local or path.is_dir()):
        return
    if not path.is_dir():
        yield "model.name", f"no folder {name}; give a folder in hub format, a hub id or 'embedded'"
    elif not (path / "config.json").is_file():
        yield "model.name", f"the folder {name} has no config.json, so it is not in hub format"


def _data(data: DataSpec, own: list[tuple[str, CocoFile]], masks: bool) -> Iterator[Fault]:
    """The faults of the data. own: takes the COCO files of the source that were read, with their keys.

    masks: whether objects need outlines.
    """
    parts = [(f"data.{data.kind}.{s}", _part(data.source, s)) for s in Split] if data.kind != "hub" else []
    local = data.hub.path if data.hub is not None and data.hub.path.startswith((".", "/", "~")) else None
    if local is not None and not Path(local).expanduser().exists():
        yield "data.hub.path", f"there is nothing at {local}"
    if data.yolo is not None:
        yield from _collected("data.yolo", partial(check_yolo, data.yolo, PROBED, masks=masks))
    for where, part in parts:
        if isinstance(part, VocPart) and data.voc is not None:
            yield from _collected(where, partial(check_voc, part, data.voc, where, PROBED))
        if isinstance(part, LabelmePart):
            yield from _collected(where, partial(check_labelme, part, where, PROBED))
        if isinstance(part, CocoPart):
            yield from _collected(where, partial(_coco, part, where, own, masks))
        elif isinstance(part, MaskPart) and data.masks is not None:
            yield from _collected(where, partial(_masks, part, data.masks, where))
    named = [(where, tuple(file.categories.values())) for where, file in own]
    yield from _collected("data.coco", lambda: check_names_alike(named))
    classes = tuple(dict.fromkeys(name for _, names in named for name in names))
    for name, domain in data.domains.items():
        for where, other in domain_parts(name, domain).values():
            yield from _domain(where, other, data, classes, masks)


def _hub(workload: Workload) -> Iterator[Fault]:
    """The faults of a local copy that opens at once; others take a download, or a conversion."""
    spec, masks = workload.given_data.hub, workload.task.facts.masks
    if spec is None or not is_saved(spec) or workload.data.kind not in workload.task.facts.sources:
        return

    def check() -> None:
        read = read_hub_masks if masks else read_hub_parts
        found = read(spec, hub_parts(spec), None)
        for part in found.parts.values() if masks else ():
            first = part.samples[0]
            try:
                first.mask()
            except (ValueError, OSError, SyntaxError) as error:
                raise DataError(f"the mask of row {first.name}: {error}") from error

    yield from _collected("data.hub", check)


def _part(source: object, split: Split) -> object:
    return getattr(source, split.value, None)


def _domain(
    where: str, part: DomainPart, data: DataSpec, classes: Sequence[str], masks: bool
) -> Iterator[Fault]:
    if part.masks is not None and data.masks is not None:
        yield from _collected(where, partial(_masks, part.masks, data.masks, f"{where}.masks"))
    if part.voc is not None and data.voc is not None:
        yield from _collected(where, partial(check_voc, part.voc, data.voc, f"{where}.voc", PROBED))
    if part.labelme is not None:
        yield from _collected(where, partial(check_labelme, part.labelme, f"{where}.labelme", PROBED))
    if part.yolo is not None:
        yield from _collected(where, partial(_yolo_of, part.yolo, f"{where}.yolo", masks))
    if part.coco is not None:
        yield from _collected(where, partial(_coco_of, part.coco, f"{where}.coco", classes, masks))


def _coco_of(part: CocoPart, where: str, classes: Sequence[str], masks: bool) -> None:
    """Check a domain's part, whose boxes must be of the data's classes. Raises DataError."""
    file = _coco(part, where, [], masks)
    unknown = [n for n in dict.fromkeys(file.categories.values()) if n in file.used - set(classes)]
    if unknown and classes:
        raise DataError(unknown_classes(f"{where}.annotations", unknown, classes))


def _yolo_of(part: YoloPart, where: str, masks: bool) -> None:
    """Check a domain's part. Raises DataError."""
    for at, file, name in domain_parts_of({Split.TEST: (where, part)}).values():
        check_part(file, name, at, PROBED, masks=masks)


def _collected(where: str, check: Callable[[], object]) -> Iterator[Fault]:
    """The DataError of a check as a fault."""
    try:
        check()
    except DataError as error:
        yield where, str(error).removeprefix(f"{where}: ")


def _is_small(part: CocoPart) -> bool:
    try:
        return Path(part.annotations).stat().st_size <= LARGEST_FILE
    except OSError:
        return False


def _coco(part: CocoPart, where: str, read: list[tuple[str, CocoFile]], masks: bool) -> CocoFile:
    """Check one part, and add it to `read`. Raises DataError."""
    folder = Folder(need_folder(part.images, what=f"{where}.images"))
    if not _is_small(part) and Path(part.annotations).is_file():
        return CocoFile((), {}, frozenset(), {}, (), ())
    file = load_coco_file(part.annotations, shapes=masks)
    if masks:
        require_shapes(file, where)
    absent = [i.file_name for i in file.images[:PROBED] if not is_file(folder.find(i.file_name))]
    if absent:
        raise DataError(
            f"{len(absent)} of the first {plural(min(PROBED, len(file.images)), 'image')} cannot be found,"
            f" such as {absent[0]}{folder.hint(absent[0])}"
        )
    read.append((where, file))
    return file


def _masks(part: MaskPart, spec: MaskData, where: str) -> None:
    """Check one part: its pairs, and the values of the first mask. Raises DataError."""
    code: MaskCode = mask_code(spec, spec.classes)
    found = find_pairs(part, spec.suffix, where)
    absent = [pair.name for pair in found.pairs if pair.mask is None]
    hint = f"; {found.hint}" if found.hint else ""
    if absent:
        raise DataError(
            f"{plural(len(absent), 'image')} without a mask of the same name, such as {absent[0]}{hint}"
        )
    first = found.pairs[0]
    assert first.mask is not None
    try:
        code.classes(read_mask(first.mask, values=code.shown, known=code.known))
    except (ValueError, OSError, SyntaxError) as error:
        raise DataError(f"the mask {first.mask}: {error}") from error
