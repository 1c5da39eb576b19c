from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import write
from typer.testing import Result

from tuning.exit_codes import USER_ERROR
from tuning.ledger.ledger import LEDGER, Ledger, read_history


@pytest.fixture
def damaged(storage: Path) -> Path:
    """An experiment with a flipped bit in one line, and more damage in another."""
    folder = write(storage / "broken")
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b"0", b"1", 1)
    number = next(i for i, line in enumerate(lines) if b'"kind":"started","trial":1' in line)
    lines[number] = lines[number].replace(b"adapter", b"ADAPTER")
    (folder / LEDGER).write_bytes(b"".join(lines))
    return folder


def test_a_copy_is_written_that_can_be_read_and_what_is_lost_is_said(
    run: Callable[..., Result], damaged: Path
) -> None:
    before = (damaged / LEDGER).read_bytes()
    refused = run("best", "broken", code=USER_ERROR)
    assert "adaptertune repair" in refused.output
    said = run("repair", "broken")
    assert "line 6: restored" in said.stdout
    assert "left out (a line 'started' of trial 1): its checksum does not match" in said.stdout
    assert "the start of trial 1 is lost" in said.stdout
    assert "nothing is left of 1 trial: 1" in said.stdout
    copy = damaged.with_name("broken-repaired")
    assert set(read_history(copy).trials) == {0, 2, 3, 4, 5, 6}
    assert (damaged / LEDGER).read_bytes() == before
    for command in ("best", "status", "report"):
        run(command, "broken-repaired")
    assert "0.75" in run("best", "broken-repaired").stdout


def test_a_valid_record_and_one_that_runs_are_not_copied(run: Callable[..., Result], storage: Path) -> None:
    folder = write(storage / "whole")
    assert "nothing to repair" in run("repair", "whole").stdout
    with Ledger.open(folder):
        refused = run("repair", "whole", code=USER_ERROR)
    assert "is running" in refused.output
    assert [path.name for path in storage.iterdir() if path.name.startswith("whole")] == ["whole"]


def test_the_name_of_the_copy_is_free_and_beside_the_experiment(
    run: Callable[..., Result], damaged: Path
) -> None:
    for name, said in (("a/b", "--to takes a name"), ("broken", "already exists")):
        refused = run("repair", "broken", "--to", name, code=USER_ERROR)
        assert said in refused.output
    run("repair", "broken", "--to", "mine")
    assert read_history(damaged.with_name("mine")).trials
