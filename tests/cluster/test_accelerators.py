from __future__ import annotations

from pathlib import Path

import pytest

from cluster.accelerators import count_likely_gpus


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ([], 0),
        (["null", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"], 0),
        (["nvidiactl", "nvidia0", "nvidia1", "dri/renderD128"], 2),
        (["kfd", "dri/card0", "dri/renderD128", "dri/renderD129"], 2),
    ],
)
def test_gpus_by_their_device_files(files: list[str], count: int, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert count_likely_gpus(devices=tmp_path) == count
