from __future__ import annotations

import pytest

from tuning.cli import version


def test_what_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "LIBRARIES", ("torch", "no-such-package"))
    *_, last = version.version_lines()
    assert last == "no-such-package (not installed)"
