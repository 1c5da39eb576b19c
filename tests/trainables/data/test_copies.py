"""Domains that hold copies of images that a model learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_makers import mask_folder, workload

from trainables.data.copies import DIGESTS, seen_copies
from trainables.data.prepared import open_prepared
from trainables.errors import DataError
from trainables.preparation import prepare_workload


def warnings(tmp_path: Path, domain: dict[str, str]) -> list[str]:
    own = {"train": mask_folder(tmp_path / "own", 8), "classes": ["ground", "cell"]}
    data: dict[str, Any] = {"masks": own, "domains": {"stain": {"masks": domain}}}
    found: list[str] = open_prepared(prepare_workload(workload("segmentation", data))).meta["warnings"]
    return found


def test_copies_of_training_images_in_a_domain_are_told(tmp_path: Path) -> None:
    domain = mask_folder(tmp_path / "domain", 8)
    for folder in domain.values():
        for path in sorted(Path(folder).iterdir()):
            path.rename(path.with_name(f"other_{path.name}"))
    (warning,) = warnings(tmp_path, domain)
    assert warning.startswith("domain stain: 7 images have the same pixels as images for training or")
    assert "other_cell_00" in warning


def test_kept_digests_are_those_of_the_pixels(tmp_path: Path) -> None:
    """Folders that an older version made have none, and a damaged file only costs time."""
    own = {"train": mask_folder(tmp_path / "own", 8), "classes": ["ground", "cell"]}
    data: dict[str, Any] = {"masks": own, "domains": {"same": {"masks": mask_folder(tmp_path / "same", 8)}}}
    linked = open_prepared(prepare_workload(workload("segmentation", data)))
    images = linked.path.parent / linked.meta["images"]
    kept = seen_copies(images, linked.domains)
    assert kept[0].startswith("domain same: 7 images have")
    (images / DIGESTS).unlink()
    (linked.domains["same"] / DIGESTS).write_text('{"train": []}')
    assert seen_copies(images, linked.domains) == kept


def test_other_images_are_not_doubted(tmp_path: Path) -> None:
    assert warnings(tmp_path, mask_folder(tmp_path / "domain", 4, side=30)) == []


def test_the_very_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "domain").symlink_to(tmp_path / "own")
    domain = {key: str(tmp_path / "domain" / key) for key in ("images", "masks")}
    with pytest.raises(DataError, match=r"no image may be in two parts.*domain stain"):
        warnings(tmp_path, domain)
