"""Records of designed experiments that never ran, for tests that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recorded import TRIALS, Told, experiment, write

from analysis.ablation.design import Base, choose_base, levels_over, reference_of, seeds_of
from analysis.ablation.experiment import comparison_experiment
from analysis.query.sweep import Sweep
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec
from tuning.experiment.spec import Experiment
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import ScoredRecord

Curve = Callable[[str, int], Told]
"""Maps a level's name and a seed to the trial that ran; its parameters are filled in."""


def sweep_in(folder: Path, **parts: Any) -> Sweep:
    """The seven trials of `recorded`, best 0: lora of rank 8 at rate 0.005, frozen."""
    return Sweep.at(write(folder, TRIALS, of=experiment(folder.name, **parts)))


def spec_of(
    base: Base, factor: str, levels: tuple[AblationLevel, ...], seeds: int = 3, **more: Any
) -> AblationSpec:
    """The levels under so many seeds, with the base's own level as reference."""
    return AblationSpec(
        of=base.experiment.name,
        trial=base.trial,
        factor=factor,
        levels=levels,
        reference=reference_of(levels, base, None),
        seeds=seeds_of(base, seeds),
        **more,
    )


def ranks(base: Base, *values: int, seeds: int = 3) -> Experiment:
    """A designed experiment over lora.rank."""
    name = f"{base.experiment.name}-ablate-lora.rank"
    return comparison_experiment(
        base, spec_of(base, "lora.rank", levels_over("lora.rank", values), seeds), name
    )


def ran(
    storage: Path,
    values: Mapping[int, Mapping[int, float | None]],
    *,
    test: Mapping[int, Mapping[int, float]] | None = None,
    seeds: int = 3,
) -> Path:
    """A finished ablation of lora.rank: Dice by rank and seed, None for a run that diverged."""
    asked = ranks(choose_base(sweep_in(storage / "digits")), *values, seeds=seeds)
    told, scores = [], []
    for number, params in enumerate(asked.space.grid()):
        rank, seed = params["lora.rank"], params["seed"]
        assert isinstance(rank, int)
        assert isinstance(seed, int)
        value = values[rank][seed]
        lost = value is None
        curve = (0.1,) if value is None else (value / 2, value)
        told.append(Told(params, curve, Outcome.DIVERGED if lost else Outcome.COMPLETED))
        if test is not None and seed in test[rank]:
            scores.append(ScoredRecord(trial=number, epoch=2.0, metrics={"dice": test[rank][seed]}))
    return write(storage / asked.name, told, of=asked, scores=scores)
