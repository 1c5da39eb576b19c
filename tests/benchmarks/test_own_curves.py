"""The table of our own learning curves: it can be continued, and `stopping_rules` reads it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.own_curves import EPOCHS, FILE, TEXT, read, write
from benchmarks.stopping_rules.recorded import load_tasks
from tuning.experiment.load import experiment_of_text

CURVES = [[0.9 - 0.01 * epoch for epoch in range(EPOCHS)], [0.8] + [math.nan] * (EPOCHS - 1)]


def test_what_was_written_is_read_and_continued(tmp_path: Path) -> None:
    file = tmp_path / "curves.npz"
    assert read(file) == ([], [])
    write(file, CURVES[:1], ["{}"])
    curves, settings = read(file)
    write(file, [*curves, CURVES[1]], [*settings, '{"a": 1}'])
    curves, settings = read(file)
    np.testing.assert_allclose(curves, CURVES, rtol=1e-6)
    assert settings == ["{}", '{"a": 1}']
    assert [path.name for path in tmp_path.iterdir()] == ["curves.npz"]
    (task,) = load_tasks(file)
    assert (task.name, task.losses.shape) == ("digits", (2, EPOCHS))
    assert task.final[1] == math.inf


@pytest.mark.skipif(not FILE.exists(), reason="made by `python -m benchmarks.own_curves`")
def test_the_table_that_ships() -> None:
    """Configuration n is what the seed n draws; a few of them are checked."""
    assert FILE.stat().st_size < 2_000_000
    (task,) = load_tasks(FILE)
    assert len(task.losses) >= 100
    assert task.losses.shape[1] == EPOCHS
    assert np.nanmin(task.losses) >= 0
    assert np.nanmax(task.losses) <= 1
    space = experiment_of_text(TEXT, "digits").space
    _, settings = read(FILE)
    for number in range(0, len(settings), 20):
        assert json.loads(settings[number]) == space.sample(random.Random(number))
