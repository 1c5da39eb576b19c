"""Latency in turns: what slows the machine slows all models alike, and equal models come out equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trainables.inference.latency import PASSES, ROUNDS, TURN_MS, in_turns


class Machine:
    """A machine whose load changes as time passes; every pass takes the model's own time times the load."""

    def __init__(self, load: Callable[[float], float]) -> None:
        self.load = load
        self.now = 0.0
        self.ran: list[str] = []

    def model(self, name: str, ms: float) -> Callable[[], float]:
        def once() -> float:
            took = ms * self.load(self.now)
            self.now += took
            self.ran.append(name)
            return took

        return once


def test_an_idle_machine_gives_each_model_its_own_time() -> None:
    machine = Machine(lambda _: 1.0)
    small, large = in_turns([machine.model("small", 4.0), machine.model("large", 40.0)])
    assert (small.low_ms, small.median_ms, small.high_ms) == (4.0, 4.0, 4.0)
    assert large.median_ms == 40.0
    assert machine.ran.count("large") == 1 + ROUNDS * PASSES  # one to warm up
    assert machine.ran.count("small") == 1 + ROUNDS * -(-TURN_MS // 4)


@pytest.mark.parametrize("factor", [1.1, 3.0, 9.0])
def test_equal_models_overlap_on_a_machine_that_gets_busy_or_idle(factor: float) -> None:
    for load in (
        lambda now: factor if now > 500 else 1.0,  # another job begins
        lambda now: 1.0 if now > 500 else factor,  # another job ends
        lambda now: 1.0 + (factor - 1.0) * now / 2000,  # it gets busier all the time
        lambda now: factor if int(now / 130) % 2 else 1.0,  # it comes and goes
    ):
        machine = Machine(load)
        one, other = in_turns([machine.model("one", 5.0), machine.model("other", 5.0)])
        assert one.low_ms <= other.high_ms
        assert other.low_ms <= one.high_ms


def test_models_take_turns_and_every_other_round_goes_backwards() -> None:
    machine = Machine(lambda _: 1.0)
    in_turns([machine.model(name, TURN_MS) for name in "abc"])
    turns = machine.ran[3:]
    order = [turns[i] for i in range(0, len(turns), PASSES)]
    assert "".join(order[:9]) == "abccbaabc"


def test_no_model_has_no_latency() -> None:
    assert in_turns([]) == []
