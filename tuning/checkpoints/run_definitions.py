"""The definitions and the floors of a run of `train`, in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from trainables.errors import StorageError
from trainables.specs.definitions import BEFORE, Definitions, complete

DEFINITIONS = "definitions.json"


@dataclass(frozen=True)
class RunDefinitions:
    """floors: as in `PreparedRecord`."""

    definitions: Definitions = BEFORE
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write them into the folder of a run."""
        held = {"definitions": self.definitions.model_dump(), "floors": self.floors}
        (folder / DEFINITIONS).write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", "utf-8")


def run_definitions(folder: Path) -> RunDefinitions:
    """Those of a run's folder; a folder without any was written before there were definitions.

    Raises StorageError for a damaged file, because with wrong definitions metrics would be misread.
    """
    path = folder / DEFINITIONS
    if not path.is_file():
        return RunDefinitions()
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return RunDefinitions(
            Definitions.model_validate(complete(held["definitions"])),
            dict(held.get("floors", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise StorageError(f"{path} cannot be read ({error}); train again into another folder") from error
