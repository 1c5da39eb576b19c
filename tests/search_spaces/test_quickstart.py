"""The quickstart gives slow starters their chance."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

from lone_worker import Value, run_alone

from trainables.specs.trial import TrialConfig
from tuning.experiment.load import load_experiment
from tuning.ledger.outcomes import Outcome

FROZEN = {"frozen", "head_only"}


def slow_if_frozen(seed: int) -> Value:
    """A frozen backbone learns slowly and ends below one that trains; configurations differ at random."""

    def value(config: TrialConfig, epoch: float) -> float:
        given = config.model_dump(mode="json", exclude_defaults=True)  # a setting that comes changes nothing
        draw = random.Random(f"{seed} {json.dumps(given, sort_keys=True)}")
        height, slowness = (0.55, 4.0) if str(config.freezing) in FROZEN else (0.7, 1.0)
        height, slowness = height + draw.uniform(-0.06, 0.06), slowness * draw.uniform(0.7, 1.3)
        loss = abs(math.log10(config.learning_rate) + 2.5) / 10.0
        return height * (1.0 - math.exp(-epoch / slowness)) - loss

    return value


def completed(folder: Path, seed: int) -> Counter[str]:
    """How many trials of each freezing mode run to their end in a quickstart with these curves."""
    history = run_alone(load_experiment("quickstart"), folder, slow_if_frozen(seed))
    trials = history.trials.values()
    assert len(trials) == 24
    assert sum(trial.epoch for trial in trials) < 130  # of 144
    return Counter(str(trial.params["freezing"]) for trial in trials if trial.outcome is Outcome.COMPLETED)


def test_mostly_three_trials_with_a_frozen_backbone_run_to_their_end_beside_faster_ones(
    tmp_path: Path,
) -> None:
    """Which ones do is left to chance: values are noisy, and a trial that is stopped does not come back."""
    ends = [completed(tmp_path / str(seed), seed) for seed in range(8)]
    for mode in ("frozen", "unfrozen"):
        assert all(each[mode] >= 1 for each in ends)
        assert sum(each[mode] >= 3 for each in ends) >= 5
    assert all({"head_only", "full"} <= each.keys() for each in ends)
