"""What a worker cannot keep of cached features is in the logs of its trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from packs import Driver

from tests.trainables.conftest import actor_of, trial_job
from trainables.specs.workload import Workload

HEAD_ONLY = '{"adapter": "none", "epochs": 2, "batch_size": 8, "seed": SEED}'
ALLOWED = "data.cache_gb allows 0.0001"


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    """One whose features take more room than there is."""
    given = trial_job(tmp_path, HEAD_ONLY.replace("SEED", "0")).workload
    return given.model_copy(update={"data": given.data.model_copy(update={"cache_gb": 0.0001})})


def lines(experiment: Path, number: int) -> list[str]:
    log = (experiment / "trials" / f"{number:04d}" / "log.txt").read_text().splitlines()
    return [line for line in log if ALLOWED in line]


def test_each_trial_of_a_pack_says_so_once_also_one_that_joins_later(
    tmp_path: Path, workload: Workload
) -> None:
    driver = Driver(tmp_path, workload=workload)
    driver.start(0, text=HEAD_ONLY)
    driver.step(), driver.step()
    driver.start(1, text=HEAD_ONLY)
    driver.finish()
    for number in range(2):
        said = lines(tmp_path, number)
        assert len(said) == len({line.partition(" ")[2] for line in said}) > 0


def test_so_does_a_trial_alone(tmp_path: Path, workload: Workload) -> None:
    actor = actor_of(trial_job(tmp_path, HEAD_ONLY.replace("SEED", "0"), workload=workload))
    actor.step(), actor.step()
    said = lines(tmp_path, 0)
    assert len(said) == len({line.partition(" ")[2] for line in said}) > 0
