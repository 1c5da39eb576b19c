from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from data_makers import mask_folder
from scripted import experiment, trial_job

from cluster.node_setup import UnfitNodeError, node_name, with_local_data
from cluster.ray_worker import Worker
from cluster.remote_call import call_by_name
from trainables.data import prepare
from trainables.preparation import prepare_workload
from trainables.specs.definitions import BEFORE
from trainables.specs.job import TrialJob

DATA = {"embedded": {"train": 4, "validation": 2, "test": 2, "side": 32}}


@pytest.fixture
def drivers_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data that the driver has prepared in a cache that this node does not see; it has its own cache."""
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "drivers"))
    prepared = prepare_workload(experiment(data=DATA).workload)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "nodes"))
    return prepared


@pytest.fixture
def job(tmp_path: Path, drivers_data: Path) -> TrialJob:
    """A job of that driver; its data is not on this node."""
    (tmp_path / "sweep").mkdir()
    there = tmp_path / "elsewhere" / drivers_data.name
    return trial_job(tmp_path / "sweep", 3, workload=experiment(data=DATA).workload, prepared=there)


def test_data_that_the_node_sees_is_used_as_it_is(job: TrialJob, drivers_data: Path, tmp_path: Path) -> None:
    shared = job.with_prepared(drivers_data)
    assert with_local_data(shared) is shared
    assert not (tmp_path / "nodes").exists()


def test_data_that_is_not_on_the_node_is_prepared_in_its_own_cache(
    job: TrialJob, drivers_data: Path, tmp_path: Path
) -> None:
    found = with_local_data(job)
    assert found.prepared == tmp_path / "nodes" / "prepared" / drivers_data.name
    assert found.with_prepared(job.prepared) == job
    for path in drivers_data.iterdir():
        assert (found.prepared / path.name).read_bytes() == path.read_bytes()


def test_workers_of_a_node_that_ask_at_once_prepare_once(
    job: TrialJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = prepare._write, []

    def counted(*arguments: Any, **named: Any) -> None:
        written.append(1)
        write(*arguments, **named)

    monkeypatch.setattr(prepare, "_write", counted)
    with ThreadPoolExecutor(3) as workers:
        found = {each.prepared for each in workers.map(with_local_data, [job] * 3)}
    assert found == {tmp_path / "nodes" / "prepared" / job.prepared.name}
    assert len(written) == 1


def test_other_data_than_the_sweep_began_on_is_refused_with_both_fingerprints(job: TrialJob) -> None:
    with pytest.raises(UnfitNodeError, match="cannot prepare the data") as caught:
        with_local_data(job.with_prepared(Path("/elsewhere/0123456789")))
    for part in (node_name(), "0123456789", job.prepared.name, "ADAPTERTUNE_CACHE"):
        assert part in str(caught.value)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialJob:
    """A job of a driver whose data of the node have other times; each has a cache of its own."""
    masks = {"train": mask_folder(tmp_path / "data", 6), "classes": ["ground", "cell"]}
    asked = experiment(task="segmentation", objective={"metric": "dice"}, data={"masks": masks}).workload
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "drivers"))
    there = tmp_path / "elsewhere" / prepare_workload(asked).name
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "nodes"))
    for path in (tmp_path / "data").rglob("*.*"):
        os.utime(path, ns=(1, 1))
    (tmp_path / "sweep").mkdir()
    return trial_job(tmp_path / "sweep", 3, workload=asked, prepared=there)


def test_a_node_whose_files_have_other_times_has_the_same_data(drawn: TrialJob, tmp_path: Path) -> None:
    assert with_local_data(drawn).prepared == tmp_path / "nodes" / "prepared" / drawn.prepared.name


def test_a_node_whose_files_have_another_content_is_refused(drawn: TrialJob, tmp_path: Path) -> None:
    one, other = sorted((tmp_path / "data" / "masks").iterdir())[:2]
    shutil.copyfile(other, one)
    with pytest.raises(UnfitNodeError, match="their names or their content differ; copy the driver's files"):
        with_local_data(drawn)


def test_under_the_definition_before_times_must_be_equal_too(drawn: TrialJob, tmp_path: Path) -> None:
    before = drawn.workload.model_copy(update={"definitions": BEFORE})
    with pytest.raises(UnfitNodeError, match="copy the files with their times"):
        with_local_data(drawn.model_copy(update={"workload": before}))


def test_an_experiments_folder_that_is_not_there_names_node_and_folder(job: TrialJob) -> None:
    shutil.rmtree(job.experiment)
    with pytest.raises(UnfitNodeError, match="does not see the experiment's folder") as caught:
        with_local_data(job)
    assert node_name() in str(caught.value)
    assert str(job.experiment) in str(caught.value)


def test_a_worker_says_that_it_is_its_nodes_fault(job: TrialJob) -> None:
    worker: Worker = Worker.__new__(Worker)
    worker.setup(job.model_copy(update={"experiment": Path("/not/mounted")}).for_ray())
    result = worker.step()
    assert result["done"]
    assert result["failure"]["unfit"] is True
    assert "/not/mounted" in result["failure"]["reason"]


def test_a_task_too_gets_the_nodes_data(job: TrialJob) -> None:
    used = call_by_name("cluster.node_setup:with_local_data", job).prepared
    assert used != job.prepared
    assert used.is_dir()
