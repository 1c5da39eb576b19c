"""What a worker reserves, by the machines that are there."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.capacity import Needs, Node
from tuning.experiment.sections.resources import ResourceSpec
from tuning.run.room.worker_needs import WorkerNeeds, bundle_of, reserving

HEAD, BOX = Node(cpus=4, gpus=0, memory=8e9), Node(cpus=16, gpus=2, memory=64e9)


def needs_of(**given: Any) -> WorkerNeeds:
    return WorkerNeeds(ResourceSpec.model_validate(given))


def test_one_gpu_from_the_moment_that_a_machine_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    needs = needs_of()
    assert needs([HEAD]) == Needs(1, 0)
    assert capsys.readouterr().err == ""
    assert needs([HEAD, BOX]) == Needs(1, 1)
    assert "a node with a GPU has joined" in capsys.readouterr().err
    # The machine leaves: trials wait for it.
    assert needs([HEAD]) == Needs(1, 1)
    assert needs([]) == Needs(1, 1)
    assert capsys.readouterr().err == ""


def test_where_a_machine_has_one_at_the_start_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    needs = needs_of()
    assert needs([HEAD, BOX]) == needs([HEAD]) == Needs(1, 1)
    assert capsys.readouterr().err == ""


def test_a_machine_with_a_gpu_and_no_room_for_a_worker_does_not_count() -> None:
    assert needs_of(cpus=32)([BOX]) == Needs(32, 0)
    assert needs_of(memory_gb=100)([BOX]) == Needs(1, 0, 100e9)


@pytest.mark.parametrize("gpus", [0, 0.5, 2])
def test_what_the_file_says_stays(gpus: float) -> None:
    needs = needs_of(gpus=gpus, cpus=2, memory_gb=4, packing="off")
    assert needs([]) == needs([HEAD]) == needs([BOX]) == Needs(2, gpus, 4e9)


def test_what_is_not_needed_is_not_reserved() -> None:
    config = {"trial": 3}
    assert reserving(config, Needs(1, 0))["trial"] == 3
    assert bundle_of(reserving(config, Needs(1, 0))).bundles == [{"CPU": 1.0}]
    full = bundle_of(reserving(config, Needs(0.5, 0.25, 4e9))).bundles
    assert full == [{"CPU": 0.5, "GPU": 0.25, "memory": 4e9}]
