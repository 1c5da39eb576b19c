from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import StorageError
from trainables.run_folder import CONTROL
from tuning.ledger.requests import AddRequest, is_request, leave_request, read_request, requests_in


def test_requests_come_back_as_they_were_the_oldest_first(tmp_path: Path) -> None:
    asked = [
        AddRequest(params={"lora.rank": rank, "adapter": "lora"}, of=rank, by="ann") for rank in (8, 4, 2)
    ]
    for request in asked:
        leave_request(tmp_path, request)
    found = requests_in(tmp_path)
    assert [read_request(path) for path in found] == asked
    assert all(is_request(path) for path in found)
    assert sorted((tmp_path / CONTROL).iterdir()) == found, "nothing unfinished is left"


def test_other_files_are_no_requests(tmp_path: Path) -> None:
    (tmp_path / CONTROL).mkdir()
    for name in ("stop", "stop-3", "stopped.3", ".add-1.json", "add-1.txt"):
        (tmp_path / CONTROL / name).touch()
        assert not is_request(tmp_path / CONTROL / name)
    assert requests_in(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"params": 3, "time": 1.0, "by": ""}', '{"params": {}, "rank": 3}', "\xff"]
)
def test_what_is_no_request_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "add-1.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match=r"add-1\.json is no request: "):
        read_request(path)


def test_a_folder_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / CONTROL).touch()
    with pytest.raises(StorageError, match="the request cannot be written to"):
        leave_request(tmp_path, AddRequest(params={}))
