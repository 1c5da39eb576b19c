from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from cluster.health.gpus import (
    Gpu,
    ToolError,
    driver_number,
    look_at_gpus,
    oldest_driver,
    read_gpus,
    torch_build,
)

ROWS = (
    "GPU-1, NVIDIA H200, 143771, 4, 580.95.05\n"
    "GPU-2, NVIDIA H200, 143771, 70210, 580.95.05\n"
)  # fmt: skip
APPS = "GPU-2, 4711\nGPU-2, 4712\n[Not Found], \n"


def tools(answers: dict[str, str | Exception]) -> Callable[[Sequence[str]], str]:
    """Programs that answer by a word of their command."""

    def run(command: Sequence[str]) -> str:
        answer = next(answer for word, answer in answers.items() if any(word in part for part in command))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return run


def test_two_gpus_of_which_one_is_in_use(tmp_path: Path) -> None:
    found = look_at_gpus(
        tools({"--query-gpu": ROWS, "--query-compute-apps": APPS, "cuInit": ""}), devices=tmp_path
    )
    assert found.gpus == (
        Gpu("NVIDIA H200", 143771, 4),
        Gpu("NVIDIA H200", 143771, 70210, (4711, 4712)),
    )
    assert found.gpus[1].free_mib == 143771 - 70210
    assert (found.driver, found.tool, found.error) == ("580.95.05", True, "")


def test_without_the_tool_the_device_files_are_counted(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    found = look_at_gpus(tools({"nvidia-smi": FileNotFoundError()}), devices=tmp_path)
    assert (found.device_files, found.tool, found.gpus, found.error) == (2, False, (), "")


def test_a_tool_that_fails_is_an_error_where_there_are_gpus(tmp_path: Path) -> None:
    failing = tools({"nvidia-smi": ToolError("Failed to initialize NVML: Driver/library version mismatch")})
    assert look_at_gpus(failing, devices=tmp_path).error == ""
    (tmp_path / "nvidia0").touch()
    found = look_at_gpus(failing, devices=tmp_path)
    assert found.error == "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch"


def test_cuda_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    said = "cuInit fails with 802: system not yet initialized"
    found = look_at_gpus(
        tools({"--query-gpu": ROWS, "--query-compute-apps": ToolError("no"), "cuInit": ToolError(said)}),
        devices=tmp_path,
    )
    assert found.error == f"CUDA: {said}"
    assert [gpu.processes for gpu in found.gpus] == [(), ()]


def test_rows_that_are_none_and_memory_that_is_not_known() -> None:
    assert read_gpus("No devices were found\n", {}) == ((), "")
    gpus, driver = read_gpus("GPU-1, NVIDIA GB10, [N/A], [N/A], 580.95.05\n", {})
    assert gpus == (Gpu("NVIDIA GB10", 0, 0),)
    assert driver == "580.95.05"


def test_this_machine_is_looked_at_with_its_own_programs() -> None:
    found = look_at_gpus()
    assert found.tool or found.gpus == ()


def test_a_program_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-unset}" >&2\nexit 9\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "nvidia0").touch()
    assert look_at_gpus(devices=tmp_path).error == "nvidia-smi: CUDA_VISIBLE_DEVICES=unset"
    monkeypatch.setattr("cluster.health.gpus.ANSWERS_WITHIN_S", 0.1)
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    assert look_at_gpus(devices=tmp_path).error == "nvidia-smi: no answer within 0.1 s"


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("from typing import Optional\n__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n",
         {"__version__": "2.13.0+cu130", "cuda": "13.0"}),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.1'\n", {"hip": "7.1"}),
        ("cuda = '12.8'\n", {"cuda": "12.8"}),
        ("no python", {}),
    ],
)  # fmt: skip
def test_what_torch_was_built_for_is_read_from_its_file(
    tmp_path: Path, text: str, build: dict[str, str]
) -> None:
    assert torch_build(tmp_path) == {}
    (tmp_path / "version.py").write_text(text)
    assert torch_build(tmp_path) == build


def test_the_installed_torch_is_found() -> None:
    installed = torch_build()["__version__"]
    assert installed.partition("+")[0] == version("torch").partition("+")[0]


def test_drivers_are_compared_by_number() -> None:
    assert oldest_driver("13.0") == (580, 65)
    assert oldest_driver("12.8") == (525, 60)
    assert oldest_driver("99.0") is None
    assert oldest_driver("none") is None
    assert driver_number("580.95.05") == (580, 95)
    assert driver_number("[N/A]") is None
    assert driver_number("570") is None
