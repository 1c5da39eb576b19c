"""A data set of the hub, or a local copy, as tables of `datasets`: their parts, columns and images."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Any

from trainables.data.content.digests import digest_folder, digest_of
from trainables.errors import DataError
from trainables.specs.data import HubData

IMAGES = ("image", "pixel_values", "img", "images", "jpg", "png")
"""The names of an image's column, the most frequent first."""
MASKS = (
    "mask", "label", "annotation", "labels", "annotations", "segmentation_mask", "segmentation",
    "semantic_mask", "masks", "seg", "label_map",
)  # fmt: skip
"""The names of a mask's column."""


def load_part(spec: HubData, part: str) -> Any:
    """A part of the data set, its images as they are stored. Raises DataError if it cannot be loaded."""
    import datasets

    path = Path(spec.path)
    try:
        if is_saved(spec):
            loaded = _saved(datasets.load_from_disk(str(path)), part)
        else:
            of = {"revision": spec.revision, "split": part} | _cache_by_content(path)
            loaded = datasets.load_dataset(spec.path, spec.name, **of)
    except DataError:
        raise
    # `datasets` raises the errors of its many readers, which have no common base class.
    except Exception as error:
        raise DataError(
            f"data.hub must be loadable by `datasets`, but part '{part}' of {spec.path} is not: "
            f"{type(error).__name__}: {error}"
        ) from error
    stored = {
        name: datasets.Image(decode=False)
        for name, feature in loaded.features.items()
        if isinstance(feature, datasets.Image)
    }
    for name, feature in stored.items():
        loaded = loaded.cast_column(name, feature)
    return loaded.with_format(None)


def is_saved(spec: HubData) -> bool:
    """Whether it is a folder that `save_to_disk` wrote, which opens at once."""
    path = Path(spec.path)
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _cache_by_content(folder: Path) -> dict[str, str]:
    """Where `datasets` keeps its tables of a local copy: it tells files apart by path and time alone, so a
    mended file with the time of the old one would give the old rows.
    """
    import datasets

    if not folder.is_dir():
        return {}
    digest = digest_of(digest_folder(folder))
    return {"cache_dir": str(Path(datasets.config.HF_DATASETS_CACHE) / "adaptertune" / digest)}


def _saved(held: Any, part: str) -> Any:
    """A part of a data set written by `save_to_disk`: `train`, or `train[:100]`."""
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\d*):(\d*)\])?", part)
    if match is None:
        raise DataError(f"a part of a saved data set must look like 'train' or 'train[0:100]', got '{part}'")
    name, first, last = match.groups()
    if hasattr(held, "keys"):
        if name not in held:
            raise DataError(f"data.hub has no part '{name}'; it has {', '.join(held.keys())}")
        held = held[name]
    if first is None:
        return held
    return held.select(range(int(first or 0), min(int(last or len(held)), len(held))))


def image_columns(table: Any) -> list[str]:
    """The names of the columns that hold images."""
    import datasets

    return [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]


def image_column(spec: HubData, table: Any, where: str) -> str:
    """The column of images: the one that the spec names, or that is called so. Raises DataError."""
    held = image_columns(table)
    if spec.image is not None:
        return _required(spec.image, "image", held, table, where)
    known = [name for name in IMAGES if name in held]
    if known or len(held) == 1:
        return known[0] if known else held[0]
    raise DataError(_which("image", held, table, where))


def mask_column(spec: HubData, table: Any, where: str) -> str:
    """The column of masks: the one that the spec names, or the only other one, or one that is called so."""
    held = image_columns(table)
    if spec.mask is not None:
        return _required(spec.mask, "mask", held, table, where)
    others = [name for name in held if name != image_column(spec, table, where)]
    known = [name for name in others if name.lower() in MASKS]
    if len(others) == 1 or len(known) == 1:
        return (known or others)[0]
    raise DataError(_which("mask", others, table, where))


def _required(name: str, key: str, held: list[str], table: Any, where: str) -> str:
    if name in held:
        return name
    known = name in table.features
    has = f"column {name} is {table.features[name]}" if known else f"there is no column {name}"
    raise DataError(
        f"data.hub.{key} must name a column of feature Image, but in {where} {has}; such columns are "
        f"{', '.join(held) or 'none'}"
    )


def _which(key: str, held: list[str], table: Any, where: str) -> str:
    if not held:
        return (
            f"{where} must have a column with {'an image' if key == 'image' else 'a mask'}, of feature "
            "Image; it "
            f"has {', '.join(f'{name} ({type(of).__name__})' for name, of in table.features.items())}"
        )
    return (
        f"{where} has several columns of feature Image, {', '.join(held)}, so the data must say which is the "
        f"{key}: set data.hub.{key}"
    )


def held_file(held: Any) -> str | IO[bytes]:
    """The file of a stored image. Raises FileNotFoundError for a row without one."""
    if held is None or (held["bytes"] is None and not held["path"]):
        raise FileNotFoundError("the row holds no image")
    if held["bytes"] is not None:
        return io.BytesIO(held["bytes"])
    path: str = held["path"]
    return _fetched(path) if "://" in path else path


def _fetched(path: str) -> IO[bytes]:
    """A file that the data set only links to."""
    from datasets.download.streaming_download_manager import xopen

    with xopen(path, "rb") as file:
        return io.BytesIO(file.read())


def fields_of(objects: Any) -> dict[str, Any]:
    """The features inside `objects`, which is a dict of lists or a list of dicts."""
    inner = getattr(objects, "feature", objects)
    return dict(inner) if isinstance(inner, dict) else {}


def category_of(table: Any) -> Any:
    """The feature of the objects' categories."""
    feature = fields_of(table.features["objects"])["category"]
    return getattr(feature, "feature", feature)


def category_names(table: Any, where: str) -> list[str]:
    """The names of the categories, in their order. Raises DataError if they have none."""
    feature = category_of(table)
    if hasattr(feature, "names"):
        return list(feature.names)
    if getattr(feature, "dtype", None) == "string":
        rows = (columns_of(row["objects"])["category"] for row in table.select_columns(["objects"]))
        return sorted({name for row in rows for name in row if name is not None})
    raise DataError(
        f"{where}: objects.category must be a ClassLabel or a name, so that classes have names; got {feature}"
    )


def row_origins(table: Any, part: str) -> list[str]:
    """Each row's index in the data set that it was sliced from; within `part` if that is unknown."""
    import datasets

    plain = re.fullmatch(r"([^\[\]+]+)(?:\[(\d*):\d*\])?", part)
    if plain is not None:
        first = int(plain[2] or 0)
        return [f"{plain[1]}/{first + row}" for row in range(table.num_rows)]
    sizes = {name: split.num_examples for name, split in (table.info.splits or {}).items()}
    try:
        pieces = datasets.ReadInstruction.from_spec(part).to_absolute(sizes)
    except (ValueError, AssertionError, TypeError):
        pieces = []
    origins = [f"{piece.splitname}/{row}" for piece in pieces for row in range(piece.from_, piece.to)]
    return origins if len(origins) == table.num_rows else [f"{part}/{row}" for row in range(table.num_rows)]


def columns_of(objects: Any) -> dict[str, list[Any]]:
    """The objects of a row, a dict of lists or a list of dicts, as lists by field."""
    if objects is None:
        return {"bbox": [], "category": []}
    if isinstance(objects, list):
        keys = objects[0].keys() if objects else ("bbox", "category")
        return {key: [entry[key] for entry in objects] for key in keys}
    return {key: ([] if values is None else list(values)) for key, values in objects.items()}


def row_keys(table: Any, part: str) -> list[tuple[str, str, int]]:
    """The name, the origin and the index of each row, in pycocotools' order.

    The order decides between equal scores.
    """
    if "image_id" in table.features:
        ids = list(table["image_id"])
        origins = [f"{part.split('[')[0]}/{key}" for key in ids]
    else:
        ids, origins = list(range(table.num_rows)), row_origins(table, part)
    order = list(range(len(ids)))
    if all(isinstance(key, int) for key in ids):
        order.sort(key=ids.__getitem__)
    return [(str(ids[row]), origins[row], row) for row in order]
