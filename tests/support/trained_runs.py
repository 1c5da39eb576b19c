"""Runs of `train` that take a second or two, for tests that use trained adapters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DATA = "embedded: {domain: clean, train: 16, validation: 4, test: 4}"


@contextmanager
def cached(factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use one thread, and a temporary cache of prepared data."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERTUNE_CACHE", str(factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


def file(path: Path, task: str, *, data: str = DATA, trial: str = "adapter: lora, epochs: 1") -> Path:
    """An experiment file of one configuration."""
    metric = "map_50" if task == "detection" else "dice"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"name: one\ntask: {task}\nobjective: {{metric: {metric}}}\ndata:\n  {data}\ntrial: {{{trial}}}\n"
    )
    return path


def train_here(into: Path, task: str, **options: Any) -> Path:
    """The folder of a run."""
    from tuning.cli.run.run_folder_of_train import run_folder
    from tuning.cli.run.solo_training import train_configuration
    from tuning.cli.run.train import sole_config
    from tuning.experiment.load import load_experiment
    from tuning.experiment.write import experiment_yaml

    experiment = load_experiment(file(into.with_suffix(".yaml"), task, **options))
    with run_folder(into, into, experiment.name) as folder:
        train_configuration(experiment, sole_config(experiment), folder, experiment_yaml(experiment, {}))
    return folder
