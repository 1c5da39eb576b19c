from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tuning import detach as module
from tuning.detach import NotStartedError, detach

STARTS = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir()
print('before', flush=True)
(folder / 'ledger.jsonl').write_text('x')
time.sleep(0.5)
print('after', flush=True)
"""


def test_output_follows_the_record_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", STARTS.replace("{", "{{").replace("}", "}}"))
    folder = tmp_path / "storage" / "mine"
    left = detach([str(folder)], folder)
    assert left.log == folder / "driver.log"
    assert os.getsid(left.process) == left.process  # a session of its own: closing the terminal spares it
    deadline = time.monotonic() + 10
    while "after" not in left.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left.log.read_text().split() == ["before", "after"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


def test_a_launch_that_fails_at_once_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(NotStartedError, match=r"absent\.yaml"):
        detach(["launch", "absent.yaml"], tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []
