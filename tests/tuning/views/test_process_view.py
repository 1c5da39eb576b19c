"""The process of a view, here one that writes nothing but its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import recorded

from tuning.ledger.ledger import read_history
from tuning.views.process_view import ProcessView

WRITER = """
import json, pathlib, sys
print(json.dumps({"there": []}), flush=True)
for line in sys.stdin:
    pass
(pathlib.Path(sys.argv[1]) / "closed").touch()
"""


class Idle(ProcessView):
    title = "nothing"
    module: ClassVar[str] = "idle_writer"

    def remove(self, number: int) -> None:
        pass


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "idle_writer.py").write_text(WRITER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder = recorded.write(tmp_path / "digits")
    return Idle(recorded.experiment(), tmp_path / "view", read_history(folder).header)


def test_a_view_that_is_abandoned_ends_its_process_before_it_closes_its_runs(
    view: Idle, tmp_path: Path
) -> None:
    view.abandon()  # before it begins
    view._folder.mkdir()
    process = view._process = view._begin_process()
    assert view._greeting() == set()
    view.abandon()
    view.abandon()
    assert process.poll() is not None
    assert not (tmp_path / "view" / "closed").exists()
    assert view._process is None
