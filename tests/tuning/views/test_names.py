"""Names in trackers: every name comes back, and no two become one."""

from __future__ import annotations

import json
import random
import string

import odd_records
import pytest

from tuning.views import mlflow_text, trackio_values
from tuning.views.names import (
    MLFLOW,
    TENSORBOARD,
    TRACKIO,
    WANDB,
    NameMapping,
    experiment_of_project,
    trackio_project,
)

MAPPINGS = {"mlflow": MLFLOW, "tensorboard": TENSORBOARD, "wandb": WANDB, "trackio": TRACKIO}
PIECES = [
    *"/._- :%@\\\"'()[]{}=,;#?*+~^$&|<>!`", "..", "//", ":at:", ":2f:", "%25%", "_", "__", "a", "b", "A", "0",
    "é", "e\u0301",
    "日", "😀", "\ud800", "\udfff", "\n", "\t", "\0", "\x7f", "\u200b", "\u00a0", "\u2028", "step",
    "outcome", "registry-", "_system", "_configs", "_5f_",
]  # fmt: skip
"""Pieces of odd names; names are strung together from them."""


def odd_names(count: int = 4000) -> list[str]:
    """Names from the pieces, and from any characters at all; the same in every run."""
    rng = random.Random(15)
    names = {"".join(rng.choices(PIECES, k=rng.randint(0, 5))) for _ in range(count)}
    names |= {"".join(chr(rng.randrange(0x11000)) for _ in range(rng.randint(1, 6))) for _ in range(count)}
    names |= {"".join(rng.choices(string.printable, k=rng.randint(1, 4))) for _ in range(count)}
    return sorted(names | set(odd_records.METRICS) | set(odd_records.PARAMS))


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
def test_each_name_comes_back_and_no_two_are_one(mapping: NameMapping) -> None:
    names = odd_names()
    assert len(names) > 8000
    written = [mapping.encode(name) for name in names]
    assert [mapping.decode(text) for text in written] == names
    assert len(set(written)) == len(names)
    for text in written:
        assert text
        text.encode()


def test_the_names_of_this_project_stay_readable() -> None:
    for mapping in MAPPINGS.values():
        for name in ("dice", "dice/7", "map_50", "seconds/train", "lora.rank", "red blood cell", "größe"):
            assert mapping.encode(name) == name
    assert MLFLOW.encode("dice@stain") == "dice:at:stain"
    assert MLFLOW.encode("a//b") == "a/:2f:b"
    assert WANDB.encode("_step") == "%5f%step"
    assert TENSORBOARD.encode("mAP@50") == TRACKIO.encode("mAP@50") == "mAP@50"


def test_a_text_of_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="an odd number of ':'"):
        MLFLOW.decode("accuracy: top 1")


def test_mlflow_takes_every_name() -> None:
    pytest.importorskip("mlflow")
    from mlflow.utils.validation import _validate_metric, _validate_param

    tags: dict[str, str] = {}
    names = [*odd_names(), *("n" * length + end for length in range(240, 260) for end in ("", "/x", "@"))]
    seen = {}
    for name in names:
        key, more = mlflow_text.metric_name(name)
        _validate_metric(key, 0.5, 1000, 1)
        _validate_param(key, "1")
        assert seen.setdefault(key, name) == name
        assert mlflow_text.recorded_name(key, more) == name
        tags |= more
    assert tags


def test_values_of_mlflow_come_back_with_their_type() -> None:
    texts = [
        "1",
        "1.0",
        "true",
        "null",
        "NaN",
        "-Infinity",
        '"1"',
        "[1]",
        "",
        " ",
        "a b",
        "1e3",
        "\ud800",
        "é",
    ]
    # JSON, and so a ledger, knows two halves of a surrogate pair side by side only as one character.
    texts += [name for name in odd_names(500) if json.loads(json.dumps(name)) == name]
    values = [*texts, 1, 1.0, True, None, -0.0, 0.1 + 0.2, 1e-300, 2**70, [], {}, [1, {"a": "1"}]]
    written = [mlflow_text.value_text(value) for value in values]
    assert [repr(mlflow_text.recorded_value(text)) for text in written] == [repr(value) for value in values]
    assert len(set(written)) == len({repr(value) for value in values})


@pytest.mark.parametrize(
    "text", ["", "x" * 6000, "x" * 6001, "é" * 9000, "\ud800" * 9000, "a" * 5984 + "/" * 20]
)
def test_what_mlflow_would_cut_is_whole_in_tags(text: str) -> None:
    short, tags = mlflow_text.fit(text, mlflow_text.VALUE_CHARS)
    assert len(short) <= mlflow_text.VALUE_CHARS
    assert bool(tags) == (len(text) > mlflow_text.VALUE_CHARS)
    assert all(len(piece) <= 8000 and len(name) <= 250 for name, piece in tags.items())
    assert mlflow_text.whole(short, tags) == text
    # A text that looks like one that was cut is not taken for it.
    again, more = mlflow_text.fit(short, mlflow_text.VALUE_CHARS)
    assert mlflow_text.whole(again, tags | more) == short


def test_values_of_trackio_come_back_with_their_type() -> None:
    pytest.importorskip("trackio")
    from trackio.utils import deserialize_values, serialize_values

    texts = ["NaN", "Infinity", "-Infinity", '"NaN"', '""', '""1', '"', "json 1", "", "\ud800", "1"]
    values = [*texts, 1, 1.0, True, None, 2**63, -(2**70), [2**70, "NaN"], ["\ud800"], {"a": [1]}, [1, "x"]]
    for value in values:
        shown = deserialize_values(serialize_values({"x": trackio_values.trackio_value(value)}))["x"]
        assert repr(trackio_values.recorded_value(shown)) == repr(value)


def test_no_two_projects_of_trackio_share_a_file() -> None:
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    names = [name for name in odd_names() if name] + [
        "team/a",
        "teama",
        "a.b",
        "a_2e_b",
        "model",
        "model_system",
    ]
    projects = [trackio_project(name) for name in names]
    assert [experiment_of_project(project) for project in projects] == names
    files = {SQLiteStorage.get_project_db_filename(project) for project in projects}
    assert len(files) == len(set(names))
    for name, project in zip(names, projects, strict=True):
        SQLiteStorage.validate_project_name(project)
        assert SQLiteStorage.get_project_db_filename(project) == f"{project}.db", name
    assert trackio_project("my-sweep_2") == "my-sweep_2"
