from __future__ import annotations

from pathlib import Path

import pytest

from trainables.start_number import newest_start, start_file, write_start
from trainables.storage_paths import Place, StorePath


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_the_newest_number_is_read_back(tmp_path: Path, kind: str) -> None:
    root: Place = tmp_path if kind == "folder" else StorePath.of(tmp_path.as_uri())
    file = start_file(root, 7)
    assert newest_start(file) == 0
    for number in (1, 2, 13):
        write_start(file, number)
        assert newest_start(file) == number
    assert newest_start(start_file(root, 8)) == 0


def test_a_number_that_cannot_be_written_or_read_delays_nothing(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("in the way")
    write_start(start_file(tmp_path, 0), 2)
    assert newest_start(start_file(tmp_path, 0)) == 0
    torn = tmp_path / "torn"
    torn.write_bytes(b"")
    assert newest_start(torn) == 0
