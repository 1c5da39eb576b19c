from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from segmenters import SAVED, engine

from trainables.training.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def engine_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Engine]:
    """One engine per kind of segmenter for the whole session, as in a reused worker."""
    made: dict[str, Engine] = {}

    def of(kind: str) -> Engine:
        if kind not in made:
            folder: Path = SAVED[kind](tmp_path_factory.mktemp("model"))
            made[kind] = engine(folder)
        return made[kind]

    return of
