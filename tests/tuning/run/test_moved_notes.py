"""What is said of moved paths: only what was compared is called equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import experiment

from trainables.specs.definitions import BEFORE
from tuning.ledger.records import PreparedRecord
from tuning.run.moved_notes import moved_notes

META: dict[str, Any] = {"fingerprint": "abc", "domains": {"stain": "def"}}


def part(at: str) -> dict[str, str]:
    return {"images": f"{at}/images", "masks": f"{at}/masks"}


def said(
    folder: Path,
    *moved: str,
    before: bool = False,
    fingerprint: str = "abc",
    domains: dict[str, str] | None = None,
    names: bool = True,
) -> list[str]:
    """The notes when each of `moved` is at /new afterwards.

    before: with the first definitions.  fingerprint, domains: as recorded.  names: those of the domain were
    stored.
    """
    for at in ("own/images", "own/masks", "stain/images", "stain/masks", "model"):
        (folder / at).mkdir(parents=True)
    of = experiment(
        task="segmentation",
        objective={"metric": "dice"},
        model={"name": str(folder / "model")},
        data={
            "masks": {"train": part(f"{folder}/own"), "classes": ["ground", "cell"]},
            "domains": {"stain": {"masks": part(f"{folder}/stain")}},
        },
    )
    if before:
        of = of.model_copy(update={"definitions": BEFORE})
    stored = {"train": ["a.jpg"]} | ({"domains": {"stain": {"test": ["b.jpg"]}}} if names else {})
    (folder / "splits.json").write_text(json.dumps(stored))
    record = PreparedRecord(fingerprint=fingerprint, domains=META["domains"] if domains is None else domains)
    places = {str(folder / old) if old else str(folder): f"/new/{old}".rstrip("/") for old in moved}
    return list(moved_notes(record, folder, META, folder, of, places))


def test_content_is_said_to_be_equal_where_it_was_compared(tmp_path: Path) -> None:
    assert said(tmp_path, "own", "stain") == [
        "the files at /new/own, /new/stain have the content of the launch"
    ]


def test_a_models_folder_is_said_not_to_be_compared(tmp_path: Path) -> None:
    (note,) = said(tmp_path, "model")
    assert note.startswith("the files at /new/model were not compared with the model of the launch")


def test_where_a_move_leads_to_data_and_a_model_each_path_is_named(tmp_path: Path) -> None:
    content, model = said(tmp_path, "")
    assert content == (
        "the files at /new/own/images, /new/own/masks, /new/stain/images, /new/stain/masks"
        " have the content of the launch"
    )
    assert model.startswith("the files at /new/model were not compared")


def test_of_a_record_of_before_names_sizes_and_times_were_compared(tmp_path: Path) -> None:
    (note,) = said(tmp_path, "own", before=True)
    assert note.startswith("the files at /new/own have the names, sizes and modification times of the launch")


def test_other_times_have_a_note_of_their_own(tmp_path: Path) -> None:
    assert said(tmp_path, "own", before=True, fingerprint="other") == []


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("names", "end"), [(True, "have images of the same names"), (False, "were not compared: nothing was")]
)
def test_a_domain_that_was_not_recorded_has_at_most_its_names_compared(
    tmp_path: Path, end: str, *, names: bool, before: bool
) -> None:
    (note,) = said(tmp_path, "stain", before=before, domains={}, names=names)
    assert note.startswith(f"the files at /new/stain {end}")
