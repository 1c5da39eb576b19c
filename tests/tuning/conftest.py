"""What the tests of whole scripted sweeps share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.connect import connect


@pytest.fixture(scope="module")
def ray_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for all tests of a file: `launch` and `resume` use one that is up, and leave it so."""
    with connect(None, threads=1, log=tmp_path_factory.mktemp("ray") / "ray.log"):
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as preparation leaves it, as far as a scripted trainable looks."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "meta.json").write_text(json.dumps({"fingerprint": "f00", "counts": {"train": 4}}))
    return folder
