from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recorded import LORA

from trainables.errors import AdaptertuneError
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from tuning.cli.live.actions import ACTIONS, carry_out
from tuning.ledger.requests import AddRequest, ExtendRequest, read_request, requests_in
from tuning.ledger.storage import trial_folder

SET = ["adapter=lora", "freezing=frozen", "learning_rate=3e-3", "lora.rank=16"]


def ask(name: str, folder: Path, **asked: Any) -> str:
    return carry_out(name, folder, json.dumps(asked).encode())


def test_stop_leaves_the_request_that_the_command_leaves(folders: list[Path]) -> None:
    live, _ = folders
    assert "asked trial 1 of live to stop" in ask("stop-trial", live, trial=1)
    assert "asked live to stop" in ask("stop-sweep", live)
    assert sorted(path.name for path in (live / "control").iterdir()) == ["stop", "stop-1"]


def test_pause_and_unpause_leave_requests(folders: list[Path]) -> None:
    live, _ = folders
    assert "asked trial 1 of live to pause" in ask("pause-trial", live, trial=1)
    assert "asked live to pause" in ask("pause-sweep", live)
    assert "asked trial 1 of live to continue" in ask("unpause-trial", live, trial=1)
    assert "asked live to continue" in ask("unpause-sweep", live)
    assert [path.name.partition("-")[0] for path in requests_in(live)] == [
        "pause",
        "pause",
        "unpause",
        "unpause",
    ]


def test_a_trial_with_its_weights_and_one_that_trains_longer(folders: list[Path]) -> None:
    live, _ = folders
    trial = trial_folder(live, 0)
    trial.mkdir(parents=True)
    for name in (BEST_WEIGHTS, LAST_STATE):
        (trial / name).touch()
    assert "asked live to try it next" in ask("clone-warm", live, trial=0, set=["learning_rate=4e-3"])
    assert "asked live to continue trial 0 to epoch 12" in ask("extend", live, trial=0, epochs=12)
    first, second = (read_request(path) for path in requests_in(live))
    assert isinstance(first, AddRequest)
    assert (first.warm, first.of) == (True, 0)
    assert isinstance(second, ExtendRequest)
    assert (second.trial, second.epochs) == (0, 12)


def test_add_and_clone_leave_requests(folders: list[Path]) -> None:
    live, done = folders
    assert "asked live to try it next" in ask("add", live, set=SET)
    assert "asked live to try it next" in ask("clone", live, trial=1, set=["learning_rate=4e-3"])
    first, second = (read_request(path) for path in requests_in(live))
    assert isinstance(first, AddRequest)
    assert isinstance(second, AddRequest)
    assert (first.params["lora.rank"], first.of) == (16, None)
    assert (second.params, second.of) == (LORA | {"learning_rate": 4e-3, "lora.rank": 4}, 1)
    assert "`adaptertune resume" in ask("add", done, set=SET)


@pytest.mark.parametrize(
    ("action", "asked", "said"),
    [
        ("stop-trial", {"trial": 0}, "has ended already"),
        ("stop-trial", {"trial": 9}, "no trial 9"),
        ("stop-trial", {}, "the number of a trial is missing"),
        ("stop-sweep", {"trial": 1}, "takes no trial"),
        ("stop-trial", {"trial": "../../x"}, "trial: Input should be a valid integer"),
        ("stop-trial", {"trial": -1}, "trial: Input should be greater"),
        ("pause-trial", {"trial": 0}, "has ended already"),
        ("unpause-trial", {"trial": 1}, "trial 1 of live is not paused"),
        ("unpause-sweep", {}, "live is not paused"),
        ("extend", {"trial": 0}, "fill in the epochs"),
        ("extend", {"trial": 0, "epochs": 2}, "must be more, got 2"),
        ("extend", {"trial": 0, "epochs": 0}, "epochs: Input should be greater"),
        ("extend", {"trial": 1, "epochs": 20}, "trial 1 of live"),
        ("clone-warm", {"trial": 0, "set": ["lora.rank=4"]}, "lora differs"),
        ("add", {}, "fill in at least one setting"),
        ("add", {"set": ["lora.rank=16"]}, "is missing"),
        ("add", {"set": [*SET[:3], "lora.rank=5"]}, "lora.rank"),
        ("add", {"set": ["x=" + "1" * 3000]}, "a setting has at most"),
        ("add", {"set": ["a=1"] * 300}, "set: List should have at most"),
        ("clone", {"trial": 9, "set": ["lora.rank=16"]}, "live has no trial 9"),
        ("clone", {"trial": 1, "set": ["lora.rank=4"]}, "trial 1 of live has this configuration already"),
    ],
)
def test_mistakes_are_said_and_leave_nothing(
    folders: list[Path], action: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(AdaptertuneError, match=said):
        ask(action, folders[0], **asked)
    assert not (folders[0] / "control").exists()


def test_a_sweep_that_has_ended_says_so(folders: list[Path]) -> None:
    for action, asked in (("stop-sweep", {}), ("stop-trial", {"trial": 0})):
        with pytest.raises(AdaptertuneError, match="done is not running; there is nothing to stop"):
            ask(action, folders[1], **asked)


def test_a_folder_that_cannot_be_written_is_said(folders: list[Path]) -> None:
    (folders[0] / "control").write_text("in the way")
    for action, asked in (("stop-sweep", {}), ("pause-sweep", {}), ("add", {"set": SET})):
        with pytest.raises(AdaptertuneError, match="the request cannot be written"):
            ask(action, folders[0], **asked)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_entry_is_all_that_the_page_needs(name: str) -> None:
    shown = json.loads(json.dumps(ACTIONS[name].shown()))
    assert shown["label"]
    assert shown["explained"].endswith(".")
    assert shown["of"] in ("sweep", "trial")
    assert "ask" not in shown
