"""Whole nodes of a Ray cluster stand still or lose their network, are given up by Ray or not, and come back.

A node is a raylet with its own processes on this machine, frozen with SIGSTOP; or a host in a network
namespace, whose cable is taken out. Random search without a stopping rule, so that a result depends on the
trial's number alone, wherever and however often it runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from chaos import FILE, IMAGES, NAME, Driver, Place, Process, events, thaw, wait_until
from marks import exhaustive
from network_hosts import network
from raylets import Raylet, Raylets, raylets

from tests.acceptance.test_chaos import assert_reports_agree, assert_same
from trainables.training.checkpoint import read_weights
from tuning.ledger.history import History
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.storage import trial_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
TRIALS = 5
SEEDS = 22
OUTAGE_S = 30.0
WITHIN_S = 1200.0
CHANGES = {
    f"train: {IMAGES}": f"train: {2 * IMAGES}",  # a trial takes longer than it takes to see what happens
    "concurrent: CONCURRENT, packing: PACKING": "cpus: 1, packing: off",
    "tpe: {startup_trials: 5}, trials: 12": f"random: {{}}, trials: {TRIALS}",
    "{asha: {grace_epochs: 1, reduction_factor: 2}}": "none",
    "retries: RETRIES": "retries: 5",
}
SOON_DEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""The head takes a node for dead that has not answered for about seven seconds."""


class Thaw(StrEnum):
    """When a frozen node goes on."""

    SOON = "soon"
    """As soon as another node has reported, which is before Ray gives it up, unless this machine is busy."""
    CONTINUED = "continued"
    """One of its trials has started elsewhere."""
    ENDED = "ended"
    """That trial has ended elsewhere."""
    FINISHED = "finished"
    """The sweep has finished."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    """A head without slots, for the driver; tests add nodes of one slot each."""
    with raylets() as started:
        started.add(cpus=0, **SOON_DEAD)
        yield started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """The place of the sweep that nothing disturbed, on one machine."""
    place = Place(tmp_path_factory.mktemp("whole"), cache)
    place.finish("launch", str(write_file(place)), "--set", "resources.concurrent=1")
    return place


def write_file(place: Place) -> Path:
    """Write the sweep of `chaos` with its `CHANGES`; return the file."""
    text = FILE
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    file = place.storage / f"{NAME}.yaml"
    file.write_text(text)
    return file


def two_workers(cluster: Raylets) -> list[Raylet]:
    """The nodes with slots, after new ones have replaced those that are gone."""
    while len(alive := [node for node in cluster.nodes[1:] if node.process.poll() is None]) < 2:
        cluster.add()
    return alive


def restarted(history: History, before: History) -> set[int]:
    """The trials that ran before, and have started once more since."""
    return {
        number
        for number, trial in before.trials.items()
        if trial.ended is None and history.trials[number].starts > trial.starts
    }


def may_thaw(when: Thaw, folder: Path, before: History, driver: Driver) -> bool:
    """Whether the moment has come at which the frozen node goes on."""
    if driver.process.poll() is not None:  # also if nothing ran on it
        return True
    now = read_history(folder)
    again = restarted(now, before)
    match when:
        case Thaw.SOON:
            return sum(len(t.reports) for t in now.trials.values()) > sum(
                len(t.reports) for t in before.trials.values()
            )
        case Thaw.CONTINUED:
            return bool(again)
        case Thaw.ENDED:
            return any(now.trials[number].ended is not None for number in again)
        case Thaw.FINISHED:
            return False


def assert_checkpoints_are_of_the_end(folder: Path) -> None:
    """Assert that no checkpoint is older than its trial's end: each is the file of the last start."""
    for number, trial in read_history(folder).trials.items():
        found = {
            name: read_weights(trial_folder(folder, number) / name) for name in ("best.ckpt", "last.ckpt")
        }
        assert {name: weights.sha256 for name, weights in found.items()} == trial.saved, number
        last, best = found["last.ckpt"].identity, found["best.ckpt"].identity
        assert last is not None
        assert best is not None
        assert (last.trial, last.start, last.epoch) == (number, trial.starts, trial.epoch)
        assert best.trial == number
        assert best.epoch == max(trial.reports, key=lambda report: report.metrics["dice"]).epoch


@pytest.mark.parametrize("seed", [2, 3, *(exhaustive(seed) for seed in range(SEEDS) if seed not in (2, 3))])
def test_a_node_that_stood_still_spoils_nothing(
    cluster: Raylets, whole: Place, cache: Path, tmp_path: Path, seed: int
) -> None:
    """One of two nodes is frozen at a seeded moment: while a trial loads, trains, is saved, or ends."""
    draw, when = random.Random(seed), list(Thaw)[seed % len(Thaw)]
    happened = len(events(whole.folder))
    moment, doomed = draw.randrange(2, happened * 2 // 3), two_workers(cluster)[draw.randrange(2)]
    place = Place(tmp_path, cache, environment=cluster.environment)
    frozen: list[Process] = []
    with place.run("launch", str(write_file(place)), "--address", cluster.address) as driver:
        driver.wait_for_events(moment, WITHIN_S)
        try:
            frozen = doomed.freeze()
            before = read_history(place.folder)
            wait_until(lambda: may_thaw(when, place.folder, before, driver), WITHIN_S, 0.05, driver.said)
        finally:
            thaw(frozen)
        assert driver.finish(WITHIN_S) == 0, driver.said()
        if when is not Thaw.SOON:  # it learns that it was given up, and its workers with it
            wait_until(lambda: not any(each.alive for each in frozen), WITHIN_S, 0.1, driver.said)
    assert_nothing_is_spoilt(place, whole)


@pytest.mark.exhaustive
def test_a_host_that_loses_its_network_for_a_while_spoils_nothing(
    whole: Place, cache: Path, tmp_path: Path
) -> None:
    """Three hosts with an address and a folder of Ray's each; they reach the storage all the time."""
    with network() as net, raylets(f"{(head := net.add()).address}:6379") as cluster:
        for host in (head, net.add(), lost := net.add()):
            own = ("--node-ip-address", host.address, "--temp-dir", str(cluster.folder / host.namespace))
            cpus = 0 if host is head else 1
            node = cluster.add(cpus=cpus, inside=host.inside, options=own, **SOON_DEAD)
        place = Place(tmp_path, cache, environment=cluster.environment, inside=head.inside)
        with place.run("launch", str(write_file(place)), "--address", cluster.address) as driver:
            driver.wait_for(lambda: trials_in_training(place.folder) == 2, within_s=WITHIN_S)
            workers, cut = node.workers(), time.monotonic()
            lost.unplug()
            before = read_history(place.folder)
            assert workers
            try:
                driver.wait_for(lambda: bool(restarted(read_history(place.folder), before)), WITHIN_S, 0.1)
                seen = [Place(tmp_path, cache, inside=at).read("status", NAME) for at in ((), lost.inside)]
                wait_until(lambda: time.monotonic() - cut >= OUTAGE_S)
            finally:
                lost.plug()
            assert driver.finish(WITHIN_S) == 0, driver.said()
            wait_until(lambda: not any(each.alive for each in workers), WITHIN_S, 0.1, driver.said)
    for said in seen:
        assert "2 running" in said
        assert "died" not in said
        assert "cannot be seen" not in said
    assert_nothing_is_spoilt(Place(tmp_path, cache), whole)


def trials_in_training(folder: Path) -> int:
    """The number of trials that have reported and not ended."""
    happened = events(folder)
    reported, ended = ({t for kind, t, _ in happened if kind == what} for what in ("report", "ended"))
    return len(reported - ended)


def assert_nothing_is_spoilt(place: Place, whole: Place) -> None:
    """Assert that the sweep is the undisturbed one, and that its checkpoints are of its trials' ends."""
    assert {t.outcome for t in read_history(place.folder).trials.values()} == {Outcome.COMPLETED}
    assert_same(place, whole)
    assert_reports_agree(place.folder)
    assert_checkpoints_are_of_the_end(place.folder)
