from __future__ import annotations

import random
from pathlib import Path

from tuning.experiment.load import load_experiment
from tuning.experiment.write import experiment_yaml


def test_one_configuration_as_a_file_of_its_own(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(file)
    rng = random.Random(1)
    for number in range(20):
        params = experiment.space.sample(rng)
        (tmp_path / "one.yaml").write_text(experiment_yaml(experiment, params))
        sole = load_experiment(tmp_path / "one.yaml")
        assert not sole.space
        assert sole.workload == experiment.workload
        config, wanted = sole.trial_config({}), experiment.trial_config(params)
        unused = {name: None for name in ("lora", "adalora") if name != wanted.adapter}
        assert config == wanted.model_copy(update=unused), number
