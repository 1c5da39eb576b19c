"""The simulation of stopping rules: its peers are the real ones, its counts are right."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.stopping_rules import peers
from benchmarks.stopping_rules.figures import mean_ratio_interval, ratio_interval
from benchmarks.stopping_rules.ours import Ours
from benchmarks.stopping_rules.recorded import Task, configurations, task_of, tied, with_slow_half
from benchmarks.stopping_rules.simulation import Answer, Asked, Looked, Run, simulate
from tuning.scheduling.context import AS_RAY

EPOCHS = 30
REST = {"rule": "rank", "rest": True}


@pytest.fixture(scope="module")
def task() -> Task:
    """Curves of 80 configurations; some cross, some are equal at first, some diverge."""
    draw = np.random.default_rng(0)
    height = draw.uniform(0.2, 1.0, (80, 1))
    speed = draw.uniform(1.0, 9.0, (80, 1))
    at = np.arange(1, EPOCHS + 1)[None]
    losses = height + np.exp(-at / speed) + draw.normal(0, 0.02, (80, EPOCHS))
    losses[:20, :2] = 2.0
    losses[70:, 12:] = np.nan
    losses[78:] = np.nan
    return task_of("made", losses)


def run_of(
    task: Task, build: Callable[[], Asked], *, workers: int = 4, seed: int = 0, epochs: int = 400
) -> Run:
    looked = Looked(budgets=(100, epochs), most=epochs)
    return simulate(task, build(), workers=workers, seed=seed, looked=looked)


def ours(**section: Any) -> Callable[[], Asked]:
    return partial(Ours, section, epochs=EPOCHS)


PEERS: dict[str, tuple[Callable[[], Asked], Callable[[], Asked]]] = {
    "Ray's ASHA": (
        partial(Ours, {"asha": {"rule": "threshold"}}, epochs=EPOCHS, version=AS_RAY),
        partial(peers.RayAsha, epochs=EPOCHS),
    ),
    "Optuna's Hyperband": (
        partial(peers.HyperbandModel, epochs=EPOCHS),
        partial(peers.optuna_hyperband, epochs=EPOCHS),
    ),
    "Optuna's median": (peers.MedianModel, peers.optuna_median),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", PEERS)
def test_each_peer_decides_as_the_real_class(task: Task, name: str, workers: int) -> None:
    model, real = PEERS[name]
    for seed in range(2):
        found = run_of(task, model, workers=workers, seed=seed)
        assert found == run_of(task, real, workers=workers, seed=seed)
        assert len(found.started) > 15  # it stops trials
        assert found.completed


class Recorded:
    """A rule that stops nothing, and notes what it is asked."""

    def __init__(self) -> None:
        self.reported: list[tuple[int, int, float]] = []
        self.ended: dict[int, int] = {}

    def starts(self, number: int, configuration: int) -> None:
        pass

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        self.reported.append((number, epoch, loss))
        return Answer.CONTINUES

    def ends(self, number: int, epoch: int, loss: float) -> None:
        self.ended[number] = epoch

    def continues_next(self) -> int | None:
        return None


def test_every_epoch_is_counted_and_reported_once_in_order(task: Task) -> None:
    rule = Recorded()
    run = run_of(task, lambda: rule, workers=3)
    assert len(rule.reported) + len(rule.ended) == 400
    for number in {number for number, _, _ in rule.reported}:
        epochs = [epoch for of, epoch, _ in rule.reported if of == number]
        assert epochs == list(range(1, len(epochs) + 1))
        losses = [loss for of, _, loss in rule.reported if of == number]
        assert losses == task.losses[run.started[number], : len(losses)].tolist()
    diverged = [number for number, epoch in rule.ended.items() if epoch < EPOCHS]
    assert all(run.started[number] >= 70 for number in diverged)
    assert len(run.completed) == len(rule.ended) - len(diverged)


def test_a_share_is_reached_at_the_first_report_that_is_so_good(task: Task) -> None:
    rule = Recorded()
    run = run_of(task, lambda: rule, workers=1)
    target = task.target(0.05)
    assert sum(task.final <= target) == 4
    # With one trial at once the reports are the curves one after the other; NaN ends a curve, and counts.
    counted = [
        loss
        for configuration in run.started
        for loss in task.losses[configuration, : _last(task, configuration)].tolist()
    ]
    first = next((at for at, loss in enumerate(counted, start=1) if loss <= target), 400)
    assert run.reached[0.05] == min(first, 400)
    assert run.losses[100] == min(x for x in counted[:100] if not math.isnan(x))


def _last(task: Task, configuration: int) -> int:
    bad = np.flatnonzero(np.isnan(task.losses[configuration]))
    return int(bad[0]) + 1 if len(bad) else EPOCHS


def test_a_resting_trial_frees_its_worker_and_the_best_continues(task: Task) -> None:
    rule = ours(asha=REST)()
    for number, loss in enumerate((0.5, 0.4)):
        rule.starts(number, number)
        assert rule.reports(number, 1, loss) is Answer.RESTS
        assert rule.continues_next() is None
    rule.starts(2, 2)
    assert rule.reports(2, 1, 0.6) is Answer.STOPS
    assert rule.continues_next() == 1
    assert rule.continues_next() is None
    assert rule.reports(1, 2, 0.4) is Answer.CONTINUES
    assert rule.reports(1, 3, 0.4) is Answer.RESTS
    run = run_of(task, ours(asha=REST), workers=1, epochs=100)
    assert run.completed == []  # three trials must reach each rung first
    assert run_of(task, ours(asha=REST), workers=1, epochs=1500).completed


def test_within_groups_slow_starters_run_to_their_end(task: Task) -> None:
    slow = with_slow_half(task, epochs=2)
    assert len(slow.slow) == 40
    kept = {}
    for within in ([], ["group"]):
        asha = {"rule": "rank", "within": within}
        rule = partial(Ours, {"asha": asha}, epochs=EPOCHS, groups=slow.slow)
        kept[len(within)] = sum(c in slow.slow for c in run_of(slow, rule, epochs=1500).completed)
    assert kept[1] >= 3 > kept[0]


def test_tied_losses_are_equal_above_the_floor_and_as_recorded_below(task: Task) -> None:
    floor = np.median(task.final)
    found = tied(task).losses
    below = task.losses < floor
    assert (found[below] == task.losses[below]).all()
    assert (found[task.losses >= floor] == floor).all()
    assert (np.isnan(found) == np.isnan(task.losses)).all()
    assert (tied(task, diverged=True).losses == np.where(np.isnan(found), floor, found)).all()


def test_orders_are_permutations_one_after_the_other() -> None:
    drawn = configurations(5, 3)
    assert sorted(next(drawn) for _ in range(5)) == sorted(next(drawn) for _ in range(5)) == list(range(5))


def test_a_ratio_is_the_geometric_mean_of_paired_ratios() -> None:
    one, other = np.array([10.0, 40.0]), np.array([20.0, 40.0])
    found = ratio_interval([one, one], [other, other])
    assert found.value == pytest.approx(math.sqrt(2))
    assert found.low < found.value < found.high


def test_in_the_mean_long_runs_count_for_more() -> None:
    one, other = np.array([10.0, 40.0]), np.array([20.0, 100.0])
    found = mean_ratio_interval([one, one], [other, other])
    assert found.value == pytest.approx(2.4)
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(2.5)
