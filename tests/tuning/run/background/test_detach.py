from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tuning.run.background import detach as module
from tuning.run.background.detach import NotStartedError, detach

STARTS = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir()
print('before', flush=True)
record = '{{"time": 1.0, "kind": "prepared", "fingerprint": "f"}}\\n'
(folder / 'ledger.jsonl').write_text('')
time.sleep(0.3)
(folder / 'ledger.jsonl').write_text(record)
time.sleep(0.5)
print('after', flush=True)
"""
HANGS_UP = """
import os, pathlib, signal, sys
folder = pathlib.Path(sys.argv[1]); folder.mkdir()
os.kill(os.getpid(), signal.SIGHUP)
record = '{{"time": 1.0, "kind": "prepared", "fingerprint": "f"}}\\n'
(folder / 'ledger.jsonl').write_text(record)
"""
FAILS = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir()
print('preparing', flush=True)
(folder / 'ledger.jsonl').write_text('')
time.sleep(0.5)
(folder / 'ledger.jsonl').unlink()
print('img_3.png cannot be read', flush=True)
sys.exit(2)
"""


def test_output_follows_the_record_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", STARTS)
    folder = tmp_path / "storage" / "mine"
    left = detach([str(folder)], folder)
    assert left.log == folder / "driver.log"
    assert left.prepared
    assert "prepared" in (folder / "ledger.jsonl").read_text()
    assert os.getsid(left.process) == left.process  # a separate session: closing the terminal does not end it
    deadline = time.monotonic() + 120
    while "after" not in left.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left.log.read_text().split() == ["before", "after"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


def test_it_goes_on_after_a_hang_up_of_its_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", HANGS_UP)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under `nohup`
    try:
        assert detach([str(tmp_path / "mine")], tmp_path / "mine").prepared
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_launch_that_fails_at_once_gives_its_output(tmp_path: Path) -> None:
    with pytest.raises(NotStartedError, match=r"absent\.yaml") as caught:
        detach(["launch", "absent.yaml"], tmp_path / "mine")
    assert caught.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_launch_that_fails_while_it_prepares_is_no_success_and_leaves_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RUN", FAILS)
    folder = tmp_path / "mine"
    with pytest.raises(NotStartedError, match=r"img_3\.png cannot be read") as caught:
        detach([str(folder)], folder)
    assert caught.value.code == 2
    assert "img_3" in (folder / "driver.log").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_long_preparation_is_left_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", STARTS)
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    assert not detach([str(tmp_path / "mine")], tmp_path / "mine").prepared
