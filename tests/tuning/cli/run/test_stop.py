from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.ledger.driver_state import LOCK


def test_stop_leaves_a_request_for_the_driver(run: Callable[..., Result], storage: Path) -> None:
    assert "is not running" in run("stop", "digits", code=2).stderr
    folder = write(storage / "live", (Told(LORA, (0.4,)), Told(LORA, (0.4,), None)), closed=None)
    with FileLock(folder / LOCK):
        run("stop", "live:1")
        assert "ended already (completed)" in run("stop", "live:0", code=2).stderr
        assert "has no trial 7" in run("stop", "live:7", code=2).stderr
        run("stop", "live")
    assert sorted(p.name for p in (folder / "control").iterdir()) == ["stop", "stop-1"]
