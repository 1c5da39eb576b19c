"""Trials that name a fold train without it, and are validated on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_makers import mask_folder
from data_makers import workload as workload_of

from tests.trainables.conftest import config, report_values, run
from trainables.data.domains import split_names
from trainables.data.prepared import open_prepared
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.workload import Workload
from trainables.training.engine import Engine

TRIAL = {"adapter": "none", "epochs": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    data = {
        "masks": {"train": mask_folder(tmp_path_factory.mktemp("cells"), 12), "classes": ["none", "cell"]},
        "splits": {"test": 0.25, "folds": 3},
    }
    return workload_of("segmentation", data).model_copy(update={"each_fold": True})


def test_every_image_but_those_of_test_is_held_out_once(asked: Workload) -> None:
    opened = open_prepared(prepare_workload(asked))
    folds = [open_prepared(at).splits for at in opened.folds]
    held = [set(fold[Split.VALIDATION].names) for fold in folds]
    test = set(opened.splits[Split.TEST].names)
    assert len(held) == len(folds) == 3
    assert len(set.union(*held)) == sum(map(len, held)) == 9
    for fold, out in zip(folds, held, strict=True):
        assert set(fold[Split.TEST].names) == test
        assert set(fold[Split.TRAIN].names) == set.union(*held) - out
        assert not out & test
    assert split_names(opened, asked)["folds"] == [list(fold[Split.VALIDATION].names) for fold in folds]


def test_a_trial_of_a_fold_is_that_of_a_workload_with_this_fold(asked: Workload, tmp_path: Path) -> None:
    together = Engine(asked, prepare_workload(asked), device="cpu")
    curves = []
    for fold in range(3):
        named = config(json.dumps(TRIAL | {"fold": fold}))
        curves.append(report_values(run(together, together.start(named))))
        one = asked.at_fold(fold)
        alone = Engine(one, prepare_workload(one), device="cpu")
        assert report_values(run(alone, alone.start(named))) == curves[-1]
    assert curves[0] != curves[1]
    assert together.baseline_metrics() is None
