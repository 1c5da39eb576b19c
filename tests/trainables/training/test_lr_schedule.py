"""Learning-rate schedules."""

from __future__ import annotations

import pytest
import torch

from trainables.specs.trial import Schedule, TrialConfig
from trainables.specs.workload import Direction
from trainables.training.lr_schedule import Plateau, rate_factor


def _config(**fields: object) -> TrialConfig:
    return TrialConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", list(Schedule))
def test_factor_stays_between_zero_and_one(schedule: Schedule) -> None:
    factors = [rate_factor(_config(schedule=schedule), step=s, total_steps=200) for s in range(200)]
    assert all(0.0 <= f <= 1.0 for f in factors)
    assert max(factors) == 1.0


def test_cosine_warms_up_and_ends_near_zero() -> None:
    config = _config(schedule=Schedule.COSINE, warmup=0.1)
    factors = [rate_factor(config, step=s, total_steps=100) for s in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[55] == pytest.approx(0.5, abs=1e-6)
    assert factors[-1] < 1e-3


def test_warmup_flat_decay_has_the_shape_of_study_b() -> None:
    config = _config(schedule=Schedule.WARMUP_FLAT_DECAY, warmup=0.05, flat=0.75)
    factors = [rate_factor(config, step=s, total_steps=1000) for s in range(1000)]
    assert factors[49:800] == [1.0] * 751
    assert factors[900] == pytest.approx(0.5)
    assert factors[999] == pytest.approx(0.005)


@pytest.mark.parametrize(("first", "factor"), [(2, 2), (1, 3), (3, 1)])
def test_restarts_are_torchs_own(first: int, factor: int) -> None:
    config = _config(
        schedule=Schedule.COSINE_RESTARTS, epochs=16, restart_epochs=first, restart_factor=factor
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7 * first, T_mult=factor)
    for step in range(7 * 16):
        ours = rate_factor(config, step=step, total_steps=7 * 16)
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        theirs.step()


def test_restarts_fall_on_epochs_however_short() -> None:
    config = _config(schedule=Schedule.COSINE_RESTARTS, epochs=15)
    factors = [rate_factor(config, step=s, total_steps=15) for s in range(15)]
    assert [s for s, f in enumerate(factors) if f == 1.0] == [0, 2, 6, 14]


@pytest.mark.parametrize(
    ("direction", "values"),
    [(Direction.MAXIMIZE, [0.5, 0.6, 0.6, 0.5, 0.7]), (Direction.MINIMIZE, [0.5, 0.4, 0.4, 0.5, 0.3])],
)
def test_plateau_follows_the_metric_in_its_own_direction(direction: Direction, values: list[float]) -> None:
    config = _config(schedule=Schedule.PLATEAU, plateau_patience=2, plateau_factor=0.1)
    plateau, factors = Plateau.start(direction), []
    for value in values:
        plateau = plateau.after(value, config, direction)
        factors.append(plateau.factor)
    assert factors == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1])
