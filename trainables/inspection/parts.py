"""The parts of the data that are looked at, read as far as they can be.

Training stops at the first refusal. Here every refusal is collected, and what can be read without it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from trainables.data.domains import read_domain
from trainables.data.files.file_names import walk_below
from trainables.data.files.pixels import Photo
from trainables.data.sample import Annotations, DataPart, DataSource, Sample
from trainables.data.sources import check_disjoint, check_names, divide_parts, read_given_parts
from trainables.errors import DataError
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import Task

UNREAD = "not read, as its part is refused"
"""Why an image is shown only as its file can be opened."""


@dataclass(frozen=True, eq=False)
class ReadPart:
    """A part that was read. label: `train`, or `test@stain` of the domain `stain`.

    numbers: the class of the inspection for each class of the part.
    """

    label: str
    split: Split
    part: DataPart
    source: DataSource
    numbers: tuple[int, ...]
    domain: str | None = None


@dataclass
class ReadData:
    """What was read. classes: of all parts, in their order.  refusals: why training would refuse the data.

    divided: whether parts that the data do not give were split off, as training would split them off.
    """

    classes: tuple[str, ...] = ()
    background: str | None = None
    parts: list[ReadPart] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    divided: bool = True


@dataclass(frozen=True)
class UnreadFile:
    """A file of data that no reader takes; it is shown as it can be opened."""

    name: str
    path: Path

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def photo(self) -> Photo:
        """No image for training. Raises ValueError."""
        raise ValueError(UNREAD)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """No boxes."""
        return Annotations.none()

    def mask(self, photo: Photo | None = None) -> None:
        """No mask."""


def unread_files(data: DataSpec, most: int) -> list[ReadPart]:
    """The first image files of each part, for pictures of data of which nothing could be read."""
    found = []
    for split in Split:
        part = getattr(data.source, split.value, data if split is Split.TRAIN else None)
        samples: list[Sample] = []
        for folder in dict.fromkeys(getattr(part, key, None) for key in ("images", "masks", "folder")):
            if not isinstance(folder, str) or not Path(folder).is_dir():
                continue
            with suppress(DataError):
                files = [(name, path) for name, path, exists in walk_below(Path(folder)) if exists]
                kinds = Image.registered_extensions()
                samples += [UnreadFile(n, p) for n, p in files if p.suffix.lower() in kinds][:most]
        if samples:
            source = DataSource((), {split: DataPart(samples)})
            found.append(ReadPart(str(split), split, source.parts[split], source, ()))
    return found


def read_parts(data: DataSpec, task: Task) -> ReadData:
    """Read all parts of the data and of their domains. Raises no DataError."""
    found = ReadData()
    sources = _divided(data, task, found) or _apart(data, task, found)
    classes = tuple(dict.fromkeys(name for source in sources for name in source.classes))
    found.classes = classes
    found.background = next((s.background for s in sources if s.background is not None), None)
    for source in sources:
        found.parts += _labelled(source, classes, None)
    if classes:
        _read_domains(data, task, found)
    return found


def _divided(data: DataSpec, task: Task, found: ReadData) -> list[DataSource]:
    """The source as training reads it; nothing, and its error among the refusals, if it cannot."""
    try:
        source = read_given_parts(data, task)
        check_names(source.parts.values())
        check_disjoint({str(split): part for split, part in source.parts.items()})
        return [replace(source, parts=divide_parts(source.parts, data.splits))]
    except DataError as error:
        found.refusals.append(str(error))
        return []


def _apart(data: DataSpec, task: Task, found: ReadData) -> list[DataSource]:
    """Each given part read without the others, undivided: what they do not agree on hides none of them."""
    found.divided = False
    with suppress(DataError):  # the refusal is known; the parts may still be read together
        return [read_given_parts(data, task)]
    if data.kind == "embedded" or not hasattr(data.source, "train"):  # one file names all parts
        return []
    sources = []
    for split in Split:
        given = getattr(data.source, split.value, None)
        if given is None:
            continue
        only = {"train": given, "validation": None, "test": None}
        spec = data.model_copy(update={data.kind: data.source.model_copy(update=only)})
        try:
            read = read_given_parts(spec, task)
        except DataError as error:
            message = str(error).replace(f"data.{data.kind}.train", f"data.{data.kind}.{split}")
            if message not in found.refusals:
                found.refusals.append(message)
            continue
        sources.append(replace(read, parts={split: read.parts[Split.TRAIN]}))
    return sources


def _read_domains(data: DataSpec, task: Task, found: ReadData) -> None:
    own = {part.label: part.part for part in found.parts if part.split is not Split.TEST}
    for name, domain in data.domains.items():
        if domain.corruption is not None:
            continue  # of the test images
        try:
            source = read_domain(name, domain, data, task, found.classes)
        except DataError as error:
            found.refusals.append(str(error))
            continue
        found.parts += _labelled(source, found.classes, name)
        if domain.kind == "embedded":  # the same scenes, which is meant
            continue
        for split, part in source.parts.items():
            try:
                check_disjoint(own | {f"{split} of domain {name}": part})
            except DataError as error:
                found.refusals.append(str(error))


def _labelled(source: DataSource, classes: tuple[str, ...], domain: str | None) -> list[ReadPart]:
    numbers = tuple(classes.index(name) for name in source.classes)
    parts: Mapping[Split, DataPart] = source.parts
    return [
        ReadPart(
            label=str(split) if domain is None else f"{split}@{domain}",
            split=split,
            part=parts[split],
            source=source,
            numbers=numbers,
            domain=domain,
        )
        for split in Split
        if split in parts and parts[split].samples
    ]
