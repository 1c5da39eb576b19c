from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.conftest import config
from trainables.backbones import EMBEDDED
from trainables.packing.lane_memory import bytes_for_packing, counting_saved, free_memory
from trainables.packing.pack import PackEngine
from trainables.specs.workload import Task
from trainables.training.engine import Engine

LORA = '{"adapter": "lora", "epochs": 1, "batch_size": SIZE, "lora": {"dropout": 0.2}}'


def test_each_tensor_that_the_backward_pass_needs_counts_once_and_weights_do_not() -> None:
    weight, x = torch.randn(8, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    with counting_saved([weight]) as saved:
        (x @ weight) * (x @ weight)
    assert saved.bytes == 3 * 4 * 8 * 4  # x, and both products


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_the_memory_of_a_lane_grows_with_its_batch_and_is_the_same_each_time(
    engine_of: Callable[[Task], Engine], task: Task
) -> None:
    engine = engine_of(task)
    pack = PackEngine(engine)
    found = {}
    for size in (2, 8):
        state = engine.start(config(LORA.replace("SIZE", str(size))))
        found[size] = [pack.bytes_of_lane(state) for _ in range(2)]
        assert state.step == 0
        assert found[size][0] == found[size][1]
    assert 2.0 < found[8][0] / found[2][0] < 4.5  # type: ignore[operator]


def memory(folder: Path, **files: str) -> int | None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return free_memory(meminfo=folder / "meminfo", cgroups=folder)


MEMINFO = "MemTotal:  900 kB\nMemAvailable:   500 kB\n"


def test_free_memory_is_that_of_the_machine_within_the_limit_of_the_container(tmp_path: Path) -> None:
    assert memory(tmp_path) is None
    assert memory(tmp_path, meminfo=MEMINFO) == 500 * 1024
    files = {"memory.current": "300000", "memory.stat": "anon 7\ninactive_file 100000\n"}
    assert memory(tmp_path, **files, **{"memory.max": "max\n"}) == 500 * 1024
    assert memory(tmp_path, **{"memory.max": "400000\n"}) == 200000


def test_free_memory_within_a_group_of_version_1(tmp_path: Path) -> None:
    group = {
        "memory__memory.limit_in_bytes": "400000",
        "memory__memory.usage_in_bytes": "390000",
        "memory__memory.stat": "total_inactive_file 5000\n",
    }
    assert memory(tmp_path, meminfo=MEMINFO, **group) == 15000


def test_workers_on_one_machine_divide_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.packing.lane_memory.free_memory", lambda: 8000)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    found = [bytes_for_packing(torch.device("cpu"), threads=threads) for threads in (1, 4, 9)]
    assert found == [1000, 4000, 4000]
    monkeypatch.setattr("trainables.packing.lane_memory.free_memory", lambda: None)
    assert bytes_for_packing(torch.device("cpu"), threads=1) is None
