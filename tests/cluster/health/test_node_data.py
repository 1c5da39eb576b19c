"""The nodes of a cluster are asked for a sweep's data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from data_makers import mask_folder
from scripted import experiment

from cluster.capacity import Needs
from cluster.connect import connect
from cluster.health.node_data import data_errors
from trainables.preparation import prepare_workload
from trainables.specs.job import Job
from trainables.specs.workload import Workload


@pytest.fixture(scope="module", autouse=True)
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(tmp_path_factory.mktemp("nodes")))
        with connect(None, threads=1, log=tmp_path_factory.mktemp("ray") / "ray.log"):
            yield


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Job]:
    """Makes the job of a driver whose cache no node sees; the data are in `data`."""
    masks = {"train": mask_folder(tmp_path / "data", 6), "classes": ["ground", "cell"]}
    asked: Workload = experiment(
        task="segmentation", objective={"metric": "dice"}, data={"masks": masks}
    ).workload
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "drivers"))
    (tmp_path / "sweep").mkdir()

    def made() -> Job:
        name = prepare_workload(asked).name
        return Job(
            experiment=tmp_path / "sweep", workload=asked, prepared=tmp_path / "unseen" / name, threads=1
        )

    return made


def errors(job: Job, **room: float) -> list[str]:
    return data_errors(job, needs=Needs(**{"cpus": 1.0, "gpus": 0.0} | room), look=lambda: None)


def test_a_node_with_the_same_files_is_fit_and_one_without_them_is_named(
    job: Callable[[], Job], tmp_path: Path
) -> None:
    asked = job()
    assert errors(asked) == []
    shutil.rmtree(tmp_path / "data")
    assert errors(asked, cpus=1e6) == []  # no trial would run there
    (found,) = errors(asked)
    assert "cannot prepare the data" in found
    assert "there is none at" in found


def test_the_wait_ends_where_the_user_ends_it(job: Callable[[], Job]) -> None:
    def ended() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data_errors(job(), needs=Needs(1.0, 0.0), look=ended)
