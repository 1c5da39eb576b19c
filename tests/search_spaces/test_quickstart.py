"""The quickstart gives slow starters their chance."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from lone_worker import Value, run_alone

from trainables.specs.trial import TrialConfig
from tuning.experiment.load import load_experiment
from tuning.ledger.outcomes import Outcome

FROZEN = {"frozen", "head_only"}


def slow_if_frozen(seed: int) -> Value:
    """A frozen backbone learns slowly and ends below one that trains; configurations differ at random."""

    def value(config: TrialConfig, epoch: float) -> float:
        draw = random.Random(f"{seed} {json.dumps(config.model_dump(mode='json'), sort_keys=True)}")
        height, slowness = (0.55, 4.0) if str(config.freezing) in FROZEN else (0.7, 1.0)
        height, slowness = height + draw.uniform(-0.06, 0.06), slowness * draw.uniform(0.7, 1.3)
        loss = abs(math.log10(config.learning_rate) + 2.5) / 10.0
        return height * (1.0 - math.exp(-epoch / slowness)) - loss

    return value


@pytest.mark.parametrize("seed", [0, 1])
def test_three_trials_with_a_frozen_backbone_run_to_their_end_beside_faster_ones(
    tmp_path: Path, seed: int
) -> None:
    given = load_experiment("quickstart")
    history = run_alone(given, tmp_path / "a", slow_if_frozen(seed))
    trials = history.trials.values()
    assert len(trials) == 24
    ends = Counter(str(trial.params["freezing"]) for trial in trials if trial.outcome is Outcome.COMPLETED)
    assert ends["frozen"] >= 3
    assert ends["unfrozen"] >= 3
    assert {"head_only", "full"} <= ends.keys()
    assert sum(trial.epoch for trial in trials) < 120
