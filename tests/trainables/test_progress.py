from __future__ import annotations

import pytest

from trainables.progress import QUIET_S, shown_progress


def test_without_a_terminal_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with shown_progress("preparing data", 3_000, clock=lambda: now[0]) as advance:
        for _ in range(3_000):
            now[0] += QUIET_S / 1_000
            advance()
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[0].startswith("preparing data: 1,00")
    assert err.splitlines()[0].endswith(" of 3,000 images")
    assert 2 <= len(err.splitlines()) <= 3


def test_a_short_loop_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("preparing data", 10, clock=lambda: 0.0) as advance:
        for _ in range(10):
            advance()
    assert "".join(capsys.readouterr()) == ""
