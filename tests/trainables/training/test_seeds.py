"""The seeds of steps."""

from __future__ import annotations

import torch

from trainables.training.seeds import draw_from, seed_of


def test_every_trial_step_and_stream_has_its_own_seed() -> None:
    seeds = [
        seed_of(seed, step, stream=stream) for seed in range(4) for step in range(50) for stream in (0, 1)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_never_changes() -> None:
    """A checkpoint of any version continues to the bit only while the seeds stay what they were."""
    assert [seed_of(0, 0), seed_of(0, 1), seed_of(7, 3, stream=1)] == [
        7896617691693857887,
        2918264622725855778,
        6665335680343557524,
    ]


def test_drawing_again_from_a_seed_repeats_the_numbers() -> None:
    draw_from(5, torch.device("cpu"))
    first = torch.rand(3)
    draw_from(5, torch.device("cpu"))
    assert torch.equal(first, torch.rand(3))
    draw_from(6, torch.device("cpu"))
    assert not torch.equal(first, torch.rand(3))
