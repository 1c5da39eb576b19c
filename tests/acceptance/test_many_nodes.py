"""Real sweeps on a Ray cluster of several nodes, each a raylet with its own processes on this machine.

Nodes are killed without warning, and join late; one cannot read the driver's cache of prepared data.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos import FILE, IMAGES, Driver, Place, freeze_in_mid_epoch
from marks import exhaustive
from raylets import Raylets, raylets, require_hiding

from tests.acceptance.test_chaos import Cut, assert_reports_agree, count, count_continued
from tuning.exit_codes import FAILED, USER_ERROR
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
TRIALS = 20
WITHIN_S = 1200.0
"""Generous, as several nodes may share two busy cores."""
CAPACITY = """
import os
import sys
import time
from pathlib import Path
from cluster.connect import connect
from cluster.capacity import Capacity, Needs
import ray
with connect(sys.argv[1], threads=3, log=Path(sys.argv[2])) as cluster:
    print(ray.get(ray.remote(os.getenv).remote("OMP_NUM_THREADS")), flush=True)
    capacity = Capacity(cluster.nodes, lambda nodes: Needs(1, 0), None)
    for _ in sys.stdin:
        print(capacity(), flush=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    """Three nodes of one CPU each; tests remove some, and add others."""
    with raylets() as started:
        for _ in range(3):
            started.add()
        yield started


@contextmanager
def sweep(place: Place, cluster: Raylets, *, packing: str = "off", **changes: str) -> Iterator[Driver]:
    """Launch the sweep of `chaos` on a cluster, one CPU per trial, with parts of its file replaced."""
    text = (
        FILE.replace("concurrent: CONCURRENT", "cpus: 1").replace("RETRIES", "3").replace("PACKING", packing)
    )
    for old, new in changes.items():
        key = old.replace("_", " ")
        assert key in text
        text = text.replace(key, new)
    file = place.storage / f"{place.name}.yaml"
    file.write_text(text)
    inside = Place(place.storage, place.cache, place.name, {**cluster.environment, **place.environment})
    with inside.run("launch", str(file), "--name", place.name, "--address", cluster.address) as driver:
        yield driver


def wait(driver: Driver, reached: Callable[[], bool]) -> None:
    """Wait with a long timeout and a slow poll: reading all processes takes time."""
    driver.wait_for(reached, within_s=WITHIN_S, every_s=0.1)


def assert_complete(folder: Path, trials: int) -> None:
    """Assert that no trial is lost or duplicated, and that each ran the epochs that its outcome requires."""
    found = read_history(folder).trials
    assert sorted(found) == list(range(trials))
    assert {trial.outcome for trial in found.values()} <= {Outcome.COMPLETED, Outcome.PRUNED}
    assert count(folder, EndedRecord) == trials
    for trial in found.values():
        assert [r.epoch for r in trial.reports] == [float(e + 1) for e in range(len(trial.reports))]
        assert (trial.outcome is Outcome.COMPLETED) == (len(trial.reports) == 4)


@pytest.mark.parametrize("packing", ["off", exhaustive("2")])
def test_a_node_dies_and_another_joins(cluster: Raylets, place: Place, packing: str) -> None:
    """The node is frozen before it is killed, so that it cannot end its trial just before its death.

    It is killed while each of three nodes runs one trial, or two, in mid-epoch. Epochs are longer than in
    other tests, so that this occurs often enough. The node that joins has its own cache, and prepares the
    data there.
    """
    require_hiding(place.cache)
    own_cache = place.storage.parent / "own-cache"
    doomed = next(node for node in cluster.nodes[1:] if node.process.poll() is None)
    images = 2 * IMAGES
    longer = {"trials:_12": f"trials: {TRIALS}", f"train:_{IMAGES}": f"train: {images}"}
    with sweep(place, cluster, packing=packing, **longer) as driver:
        driver.wait_for_events(8, WITHIN_S)
        wait(driver, lambda: freeze_in_mid_epoch(doomed.workers(), place.folder, trials=3, images=images))
        doomed.kill_all()
        cut = Cut.of(place.folder)
        late = cluster.add(hidden=[place.cache], ADAPTERTUNE_CACHE=str(own_cache))
        wait(driver, lambda: bool(late.workers()))
        assert driver.finish(WITHIN_S) == 0, driver.said()
    assert_complete(place.folder, TRIALS)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, [cut]) > 0
    assert "(raylet)" not in driver.said()
    prepared = {path.name for path in (place.cache / "prepared").iterdir() if not path.name.startswith(".")}
    assert {p.name for p in (own_cache / "prepared").iterdir() if not p.name.startswith(".")} == prepared


def test_a_node_that_does_not_see_the_experiment_is_named_before_anything_runs(
    cluster: Raylets, place: Place
) -> None:
    require_hiding(place.storage)
    blind = cluster.add(hidden=[place.storage])
    try:
        with sweep(place, cluster) as driver:
            assert driver.finish() == USER_ERROR, driver.said()
        assert f"does not see the experiment's folder {place.folder}" in driver.said()
        assert not (place.folder / "ledger.jsonl").exists()  # the name is free
    finally:
        blind.leave()


@pytest.mark.exhaustive
def test_two_experiments_on_one_cluster_and_one_database_do_not_mix(cluster: Raylets, place: Place) -> None:
    """Both run at once, each on its share of the nodes, with Optuna studies in one database."""
    import optuna

    database = f"sqlite:///{place.storage / 'studies.db'}"
    places = [Place(place.storage, place.cache, name) for name in ("left", "right")]
    share = {
        "trials:_12": "trials: 4",
        "cpus:_1": "cpus: 1, concurrent: 1",
        "scoring:": f"views: {{optuna: '{database}'}}\nscoring:",
    }
    with (
        sweep(places[0], cluster, **share) as left,
        sweep(places[1], cluster, **share, **{"seed:_4": "seed: 5"}) as right,
    ):
        for driver in (left, right):
            driver.wait_for_events(1, WITHIN_S)
        assert left.process.poll() is None or right.process.poll() is None
        for driver in (left, right):
            assert driver.finish(WITHIN_S) == 0, driver.said()
    for each in places:
        assert_complete(each.folder, 4)
        assert {r.name for r in read_records(each.folder) if r.kind == "experiment"} == {each.name}
    first, second = (read_history(each.folder).trials for each in places)
    assert not {t.hash for t in first.values()} & {t.hash for t in second.values()}
    assert sorted(optuna.get_all_study_names(database)) == ["left", "right"]
    for each in places:
        shown = optuna.load_study(study_name=each.name, storage=database).get_trials()
        curves = {t.user_attrs["hash"]: list(t.intermediate_values.values()) for t in shown}
        assert len(shown) == 4
        assert curves == {
            t.hash: [r.objective for r in t.reports] for t in read_history(each.folder).trials.values()
        }


@pytest.mark.exhaustive
def test_the_number_of_trials_at_once_follows_the_nodes(cluster: Raylets, tmp_path: Path) -> None:
    with capacity_of(cluster, tmp_path) as ask:
        before = ask(lambda now: now >= 2)
        more = cluster.add(cpus=3)
        assert ask(lambda now: now == before + 3) == before + 3
        more.kill()
        assert ask(lambda now: now == before) == before


@contextmanager
def capacity_of(cluster: Raylets, folder: Path) -> Iterator[Callable[[Callable[[int], bool]], int]]:
    """A function that asks for the capacity until a condition holds, for at most two minutes.

    Also checks that workers compute with the threads asked for, not with their node's setting.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CAPACITY, cluster.address, str(folder / "ray.log")],
        env=os.environ | cluster.environment,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(holds: Callable[[int], bool]) -> int:
        deadline = time.monotonic() + 120.0
        while True:
            stdin.write("\n")
            stdin.flush()
            now = int(stdout.readline())
            if holds(now) or time.monotonic() > deadline:
                return now
            time.sleep(0.5)

    try:
        assert stdout.readline() == "3\n"
        yield ask
    finally:
        stdin.close()
        process.wait(timeout=300)


def test_a_head_that_is_killed_ends_the_sweep_in_plain_words_and_it_goes_on_elsewhere(place: Place) -> None:
    """Ray would end the driver after a minute, with its own message. The sweep resumes without a cluster."""
    with raylets() as cluster:
        head = cluster.add(cpus=2)
        with sweep(place, cluster, **{"trials:_12": "trials: 6"}) as driver:
            driver.wait_for_events(6, WITHIN_S)
            wait(driver, lambda: freeze_in_mid_epoch(head.workers(), place.folder))
            head.kill_all()
            # Ray itself would end the driver after 60 s.
            assert driver.finish(50.0) == FAILED, driver.said()
            assert "Continue the sweep with `adaptertune resume`" in driver.said()
        cut = Cut.of(place.folder)
    place.finish("resume", place.name)
    assert_complete(place.folder, 6)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, [cut]) > 0
