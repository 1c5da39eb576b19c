from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from scripted import experiment

from cluster.node_setup import UnfitNodeError, at_home, node_name
from cluster.ray_worker import Worker
from cluster.remote_call import call
from trainables.data import prepare
from trainables.preparation import prepare_workload
from trainables.specs.workload import Workload


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a worker gets whose node does not see the driver's cache, but has one of its own."""
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "drivers"))
    data = {"embedded": {"train": 4, "validation": 2, "test": 2, "side": 32}}
    workload: Workload = experiment(data=data).workload
    prepared = prepare_workload(workload)
    (tmp_path / "sweep").mkdir()
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "nodes"))
    return {
        "trial": 3,
        "experiment": str(tmp_path / "sweep"),
        "workload": workload.model_dump_json(),
        "prepared": str(tmp_path / "elsewhere" / prepared.name),
        "trainable": "scripted:Scripted",
        "there": str(prepared),
    }


def test_data_that_the_node_sees_is_used_as_it_is(given: dict[str, Any], tmp_path: Path) -> None:
    shared = given | {"prepared": given["there"]}
    assert at_home(shared) == shared
    assert not (tmp_path / "nodes").exists()


def test_data_that_is_not_on_the_node_is_prepared_in_its_own_cache(
    given: dict[str, Any], tmp_path: Path
) -> None:
    found = at_home(given)
    here, there = Path(found["prepared"]), Path(given["there"])
    assert here == tmp_path / "nodes" / "prepared" / there.name
    assert found | {"prepared": given["prepared"]} == given
    for path in there.iterdir():
        assert (here / path.name).read_bytes() == path.read_bytes()


def test_workers_of_a_node_that_ask_at_once_prepare_once(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = prepare._write, []

    def counted(*arguments: Any, **named: Any) -> None:
        written.append(1)
        write(*arguments, **named)

    monkeypatch.setattr(prepare, "_write", counted)
    with ThreadPoolExecutor(3) as workers:
        found = {at["prepared"] for at in workers.map(at_home, [given] * 3)}
    assert found == {str(tmp_path / "nodes" / "prepared" / Path(given["there"]).name)}
    assert len(written) == 1


def test_other_data_than_the_sweep_began_on_is_refused_with_both_fingerprints(given: dict[str, Any]) -> None:
    with pytest.raises(UnfitNodeError, match="cannot prepare the data") as caught:
        at_home(given | {"prepared": "/elsewhere/0123456789"})
    for part in (node_name(), "0123456789", Path(given["there"]).name, "ADAPTERTUNE_CACHE"):
        assert part in str(caught.value)


def test_an_experiments_folder_that_is_not_there_names_node_and_folder(given: dict[str, Any]) -> None:
    shutil.rmtree(given["experiment"])
    with pytest.raises(UnfitNodeError, match="does not see the experiment's folder") as caught:
        at_home(given)
    assert node_name() in str(caught.value)
    assert given["experiment"] in str(caught.value)


def test_a_worker_says_that_it_is_its_nodes_fault(given: dict[str, Any]) -> None:
    worker: Worker = Worker.__new__(Worker)
    worker.setup(given | {"experiment": "/not/mounted"})
    result = worker.step()
    assert result["done"]
    assert result["failure"]["unfit"] is True
    assert "/not/mounted" in result["failure"]["reason"]


def test_a_task_too_gets_the_nodes_data(given: dict[str, Any]) -> None:
    used = call("cluster.node_setup:at_home", given)["prepared"]
    assert used != given["prepared"]
    assert Path(used).is_dir()
