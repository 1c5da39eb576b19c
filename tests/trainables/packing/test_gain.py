from __future__ import annotations

from trainables.packing.gain import MOST_ROUNDS, ROUNDS, Comparison


def compared(together: float, alone: float, *, steps: int) -> tuple[Comparison, list[bool]]:
    """A comparison after some steps of four trials, and which of them were taken one at a time."""
    comparison, taken = Comparison(), []
    for _ in range(steps):
        taken.append(comparison.next_alone(4))
        comparison.took(alone if taken[-1] else together, alone=taken[-1])
    return comparison, taken


def test_steps_take_turns_and_the_first_one_together_warms_up() -> None:
    comparison, taken = compared(1.0, 1.6, steps=2 * ROUNDS + 1)
    assert taken == [False, True, False, True, False]
    assert comparison.gain is not None
    assert (comparison.gain.lanes, comparison.gain.ratio, comparison.gain.pays) == (4, 1.6, True)
    assert compared(1.0, 1.6, steps=2 * ROUNDS)[0].gain is None


def test_more_steps_are_asked_before_packing_is_given_up() -> None:
    assert compared(1.1, 1.0, steps=2 * ROUNDS + 1)[0].gain is None
    gain = compared(1.1, 1.0, steps=2 * MOST_ROUNDS + 1)[0].gain
    assert gain is not None
    assert not gain.pays


def test_the_least_times_count() -> None:
    comparison = Comparison(4, together=[9.0, 1.0, 5.0], alone=[7.0, 2.0])
    assert comparison.gain is not None
    assert comparison.gain.ratio == 2.0


def test_other_trials_begin_anew() -> None:
    comparison, _ = compared(1.0, 2.0, steps=3)
    assert not comparison.next_alone(3)
    assert (comparison.lanes, comparison.together, comparison.alone) == (3, [], [])
