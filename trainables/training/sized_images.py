"""The images of one size for an engine: what is trained on, what is validated with, and kept features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from trainables.data.domains import open_domains, training_part
from trainables.data.prepared import Prepared, PreparedSplit, open_prepared
from trainables.errors import DataError
from trainables.features.trial_features import Features, TrialFeatures
from trainables.models.build import Built
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.tasks.base import TaskModel
from trainables.training.validation import Validation


class SizedImages:
    """Prepared images of one size; the trials of a worker share them."""

    def __init__(self, workload: Workload, opened: Prepared, task: TaskModel, device: torch.device) -> None:
        """Raises DataError if images of a domain are not there."""
        train = training_part(opened.splits[Split.TRAIN], workload.data)
        self.data = replace(opened, splits={**opened.splits, Split.TRAIN: train})
        self.domains = open_domains(opened, workload)
        """Test and validation images of the shifted domains, by name."""
        self.features = Features(task, opened.path, device, limit_gb=workload.data.cache_gb)
        self.validation = Validation(workload, task, self.data, self.domains, device)
        self._workload = workload
        self._shares: dict[float, PreparedSplit] = {}
        """The subsets of the training images for trials with a `train_fraction`."""

    def features_of(self, built: Built, config: TrialConfig) -> TrialFeatures:
        """What a trial's frozen blocks compute of these images."""
        return self.features.of(built, config, self.training(config.train_fraction))

    def training(self, fraction: float) -> PreparedSplit:
        """The share of the training images that a trial uses, computed once for each share."""
        whole = self.data.splits[Split.TRAIN]
        if fraction >= 1:
            return whole
        if fraction not in self._shares:
            data = self._workload.data.model_copy(update={"train_fraction": fraction})
            self._shares[fraction] = training_part(whole, data)
        return self._shares[fraction]


class TrialImages:
    """The images of all folds that trials name, each at all sizes; those of one fold without folds."""

    def __init__(self, workload: Workload, opened: Prepared, task: TaskModel, device: torch.device) -> None:
        """Raises DataError if they are not prepared at all sizes."""
        self._workload = workload
        folds = [open_prepared(at) for at in opened.folds] if workload.each_fold else [opened]
        self._folds = tuple(open_sizes(workload, fold, task, device) for fold in folds)
        self.own = self._folds[0][-1]
        """Those of the model's own size, and of the first fold."""
        for sized in (one for fold in self._folds for one in fold):
            sized.features.told = self.own.features.told

    def of(self, config: TrialConfig) -> tuple[SizedImages, ...]:
        """Those of a trial, by the stage of their size; the last ones have the model's own."""
        return self._folds[config.fold or 0 if self._workload.each_fold else 0]

    def stage(self, epoch: int) -> int:
        """The number of the stage that epoch number `epoch`, from 0, is in, by the size of its images."""
        return 0 if self._workload.smaller is None else self._workload.smaller.stage(epoch)


def open_sizes(
    workload: Workload, opened: Prepared, task: TaskModel, device: torch.device
) -> tuple[SizedImages, ...]:
    """The images at all sizes of the workload, from the smallest on; the last is the model's own.

    Raises DataError if they are not prepared at all sizes.
    """
    stages = 1 if workload.smaller is None else workload.smaller.stages
    folders: tuple[Path, ...] = () if workload.smaller is None else opened.smaller
    if len(folders) + 1 != stages:
        raise DataError(f"{opened.path} has images of {len(folders) + 1} sizes, not {stages}; prepare again")
    smaller = (SizedImages(workload, open_prepared(folder), task, device) for folder in folders)
    return (*smaller, SizedImages(workload, opened, task, device))
