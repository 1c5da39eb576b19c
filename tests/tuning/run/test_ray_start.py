"""Sweeps for which Ray does not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted import experiment

from cluster.connect import RayStartError
from cluster.ray_folder import NoShortFolderError
from trainables.errors import AdaptertuneError, ClusterError, StorageError
from tuning.run import driver
from tuning.run.launch import launch_experiment


def _failing(error: Exception) -> Callable[..., Any]:
    @contextmanager
    def connect(*_: Any, **__: Any) -> Iterator[None]:
        raise error
        yield

    return connect


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RayStartError("Ray did not start within its time limit"), ClusterError),
        (NoShortFolderError("set RAY_TMPDIR to such a folder"), StorageError),
    ],
)
def test_if_ray_does_not_start_the_reason_is_said_and_the_name_stays_free(
    error: Exception, kind: type[AdaptertuneError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "connect", _failing(error))
    asked = experiment(search={"trials": 1})
    for _ in range(2):
        with pytest.raises(kind, match=str(error)):
            launch_experiment(asked, tmp_path, prepare=lambda _: tmp_path / "data")
        assert not (tmp_path / asked.name).exists()


def test_an_error_of_ours_before_the_first_trial_leaves_the_name_free_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "connect", _failing(ZeroDivisionError("a fault")))
    asked = experiment(search={"trials": 1})
    with pytest.raises(ZeroDivisionError):
        launch_experiment(asked, tmp_path, prepare=lambda _: tmp_path / "data")
    assert not (tmp_path / asked.name).exists()
