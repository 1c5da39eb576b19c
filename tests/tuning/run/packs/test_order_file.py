from __future__ import annotations

from pathlib import Path

import pytest
from scripted import trial_job

from trainables.errors import StorageError
from trainables.specs.pack import PackedTrial, PackOrders
from tuning.ledger.recorder import Halt
from tuning.run.packs.order_file import OrderFile


def entry(folder: Path, number: int) -> PackedTrial:
    job = trial_job(folder, number)
    return PackedTrial(trial=number, config=job.config, folder=job.folder, checkpoints=job.checkpoints)


def held(path: Path) -> list[tuple[int, int | None, int | None]]:
    orders = PackOrders.model_validate_json(path.read_bytes()).orders
    return [(o.number, o.start.trial if o.start else None, o.leave) for o in orders]


@pytest.fixture
def file(tmp_path: Path) -> OrderFile:
    return OrderFile(tmp_path / "control" / "orders.0")


def test_it_holds_what_was_not_acknowledged(file: OrderFile, tmp_path: Path) -> None:
    file.write()
    assert not file.path.exists()  # nothing to say
    file.start(entry(tmp_path, 4))
    file.leave(3)
    file.write()
    assert held(file.path) == [(1, 4, None), (2, None, 3)]
    file.acknowledge(1)
    file.leave(4)
    file.write()
    assert held(file.path) == [(2, None, 3), (3, None, 4)]
    assert [path.name for path in file.path.parent.iterdir()] == ["orders.0"]
    file.remove()
    assert not file.path.exists()
    file.remove()


def test_what_was_not_read_is_written_again_until_it_is(file: OrderFile, tmp_path: Path) -> None:
    file.start(entry(tmp_path, 4))
    file.write()
    file.path.unlink()
    file.write()
    assert not file.path.exists()  # nothing is known of a loss
    file.acknowledge(0)
    file.write()
    assert held(file.path) == [(1, 4, None)]
    file.acknowledge(1)
    file.path.unlink()
    file.write()
    assert not file.path.exists()


def test_a_disk_that_cannot_be_written_ends_the_sweep_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("a file")
    file = OrderFile(tmp_path / "control" / "orders.0")
    file.leave(1)
    with pytest.raises(Halt) as halted:
        file.write()
    assert isinstance(halted.value.error, StorageError)
    assert "adaptertune resume" in str(halted.value.error)
