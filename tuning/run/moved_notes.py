"""What was compared of data that the user says are elsewhere now, and what was not, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from tuning.experiment.moved_data import led_paths
from tuning.experiment.spec import Experiment
from tuning.ledger.records import PreparedRecord
from tuning.run.same_data import domain_fingerprints, fingerprint_of, stored_domains


class Compared(StrEnum):
    """How the files at a new place were compared with those of the launch; the value is a sentence's end."""

    CONTENT = "have the content of the launch"
    TIMES = (
        "have the names, sizes and modification times of the launch (COCO JSON files: the content);"
        " its record is from before content was part of the fingerprint"
    )
    IMAGES = ""
    NAMES = (
        "have images of the same names as at the launch; their content was not recorded then and cannot be"
        " compared"
    )
    NOTHING = "were not compared: nothing was recorded of them then; make sure that they are the same files"
    MODEL = (
        "were not compared with the model of the launch: its files are not part of the fingerprint; make sure"
        " that its weights are the same"
    )


def moved_notes(
    before: PreparedRecord,
    prepared: Path,
    meta: Mapping[str, Any],
    folder: Path,
    was: Experiment,
    moved: Mapping[str, str],
) -> Iterator[str]:
    """Yield sentences about the paths that moved; those that `require_same_data` told of are left out.

    was: the experiment before the move.  folder: the experiment's.  prepared, meta: the data now.
    """
    named, held = stored_domains(folder), domain_fingerprints(meta)
    same = before.fingerprint == fingerprint_of(prepared, meta)

    def compared(key: str) -> Compared:
        if key.startswith("model."):
            return Compared.MODEL
        domain = key.split(".")[2] if key.startswith("data.domains.") else None
        if domain is not None and domain not in before.domains:
            return Compared.NAMES if domain in named else Compared.NOTHING
        if was.definitions.by_content:
            return Compared.CONTENT
        equal = same if domain is None else before.domains[domain] == held.get(domain)
        return Compared.TIMES if equal else Compared.IMAGES

    led = led_paths(was, moved)
    how = {key: compared(key) for key in led}
    for kind in Compared:
        keys = [key for key in led if how[key] is kind]
        if keys and kind is not Compared.IMAGES:
            yield f"the files at {', '.join(_places(keys, led, how))} {kind}"


def _places(
    keys: Sequence[str], led: Mapping[str, tuple[str, str]], how: Mapping[str, Compared]
) -> list[str]:
    """NEW where all that it leads to was compared in one way, else path by path."""
    shown = []
    for key in keys:
        new, path = led[key]
        alone = {how[other] for other, (place, _) in led.items() if place == new} == {how[key]}
        shown.append(new if alone else path)
    return list(dict.fromkeys(shown))
