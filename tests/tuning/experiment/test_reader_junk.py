"""Shipped experiment files with junk in them: read or refused, never a traceback."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.catalog import find_shipped
from trainables.errors import ExperimentFileError
from tuning.experiment.load import load_experiment
from tuning.experiment.yaml_lines import dump_yaml, read_yaml

JUNK: list[Any] = [
    None, 0, -1, 1.5, "x", "", [], {}, [1], [None], {"a": 1}, True, float("inf"), float("nan"), 10**30, [{}],
    {"choice": [1]}, {"choice": None}, {"float": ["a", 1]}, {"when": 3}, {"choice": [{"a": [1]}, None]},
    {"choice": [1], "when": {"adapter": [["x"], {"y": 1}]}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


@pytest.mark.parametrize("name", ["quickstart", "coco_folder", "mask_folder"])
def test_whatever_stands_in_a_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Every fourth value in turn replaced by junk: an experiment with valid samples, or our own error."""
    path = find_shipped(name)
    assert path is not None
    text = path.read_text()
    rng = random.Random(0)
    refused = 0
    for place in list(places(read_yaml(text).value))[::4]:
        document = read_yaml(text).value
        node = document
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = rng.choice(JUNK)
        junk = tmp_path / "junk.yaml"
        junk.write_text(dump_yaml(document))
        try:
            experiment = load_experiment(junk)
        except ExperimentFileError:
            refused += 1
        else:
            experiment.trial_config(experiment.space.sample(rng))
    assert refused > 12
