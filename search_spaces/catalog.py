"""The experiment files that ship with adaptertune, by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path


@dataclass(frozen=True)
class ShippedExperiment:
    """An experiment file that ships with the package.

    headline: its question, the first line of its header.  description: the whole header, with the command
    that runs it and the result to expect.  searches: whether it is a sweep, for `launch`, or a single
    configuration, for `train`.
    """

    name: str
    path: Path
    headline: str
    description: str
    searches: bool


def shipped_experiments() -> tuple[ShippedExperiment, ...]:
    """All experiment files that ship with the package, sorted by name."""
    found = sorted(
        (f for f in files("search_spaces").iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name
    )
    return tuple(_read(resource.name.removesuffix(".yaml")) for resource in found)


def find_shipped(name: str) -> Path | None:
    """The file of a shipped experiment by its name; None if it does not exist."""
    if not name or Path(name).name != name:
        return None
    resource = files("search_spaces") / f"{name.removesuffix('.yaml')}.yaml"
    if not resource.is_file():
        return None
    with as_file(resource) as path:
        # Packages are installed unpacked, so the path is valid after the context ends.
        return Path(path)


def _read(name: str) -> ShippedExperiment:
    path = find_shipped(name)
    assert path is not None
    text = path.read_text(encoding="utf-8").splitlines()
    header = []
    for line in text:
        if not line.startswith("#"):
            break
        header.append(line.removeprefix("#").removeprefix(" "))
    # Parsing the whole file would make the list of experiments slow.
    searches = any(line.startswith("space:") for line in text)
    return ShippedExperiment(name, path, header[0] if header else "", "\n".join(header), searches)
