"""The GPUs of a node: what driver and `nvidia-smi` say, and what torch was built for. Imports no torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cluster.accelerators import count_likely_gpus

ANSWERS_WITHIN_S = 30.0
"""Seconds that nvidia-smi and CUDA may take; without persistence mode they first load the driver."""
OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""The oldest Linux driver by the major version of CUDA (its release notes, minor version compatibility)."""
_QUERY = "uuid,name,memory.total,memory.used,driver_version"
_TOOL = "nvidia-smi"
_OPEN_CUDA = """
import ctypes, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    sys.exit(f"libcuda.so.1 cannot be loaded ({error})")
code = cuda.cuInit(0)
if code:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    sys.exit(f"cuInit fails with {code}: {(text.value or b'unknown').decode()}")
"""
"""Opens CUDA in a process of its own, which may crash; torch would only say that there is no GPU."""

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints. Raises OSError if there is none, ToolError if it fails."""


class ToolError(RuntimeError):
    """A tool failed, or did not answer. The message has its words."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as `nvidia-smi` sees it. processes: the process numbers that compute on it, if they are shown."""

    name: str
    total_mib: int
    used_mib: int
    processes: tuple[int, ...] = ()

    @property
    def free_mib(self) -> int:
        """What no process uses, in MiB."""
        return self.total_mib - self.used_mib


@dataclass(frozen=True)
class GpuFindings:
    """What is known of a node's GPUs.

    device_files: the GPUs by their files in /dev.  tool: whether nvidia-smi is installed.
    error: why the GPUs cannot be used; empty if none is known.
    torch_cuda: the CUDA that the installed torch was built for; None for a build without, or no torch.
    torch_other: whether torch was built for another kind of GPU (ROCm, XPU).
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    device_files: int = 0
    tool: bool = False
    error: str = ""
    torch_cuda: str | None = None
    torch_other: bool = False


def look_at_gpus(run: Run | None = None, *, devices: Path = Path("/dev")) -> GpuFindings:
    """The GPUs of this machine. run: replaces the start of programs."""
    run = run or _run
    files = count_likely_gpus(devices=devices)
    build = torch_build()
    cuda, other = build.get("cuda"), any(build.get(kind) for kind in ("hip", "rocm", "xpu"))
    try:
        rows = run([_TOOL, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    except FileNotFoundError:
        return GpuFindings(device_files=files, torch_cuda=cuda, torch_other=other)
    except (OSError, ToolError) as error:
        # Machines without a GPU may have the tool, for example from an image that is used everywhere.
        said = f"{_TOOL}: {error}" if files else ""
        return GpuFindings(device_files=files, tool=True, error=said, torch_cuda=cuda, torch_other=other)
    gpus, driver = read_gpus(rows, _processes(run))
    return GpuFindings(gpus, driver, files, True, _cuda_error(run) if gpus else "", cuda, other)


def read_gpus(rows: str, processes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs, and the driver's version, from what `nvidia-smi` prints. processes: by the GPU's UUID."""
    found, driver = [], ""
    for row in rows.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != 5:
            continue
        uuid, name, total, used, driver = cells
        # "[N/A]" for GPUs that share the machine's memory.
        found.append(Gpu(name, _whole(total), _whole(used), processes.get(uuid, ())))
    return tuple(found), driver


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _processes(run: Run) -> dict[str, tuple[int, ...]]:
    try:
        rows = run([_TOOL, "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader,nounits"])
    except (OSError, ToolError):
        return {}
    found: dict[str, tuple[int, ...]] = {}
    for row in rows.splitlines():
        uuid, _, pid = (part.strip() for part in row.partition(","))
        if pid.isdecimal():
            found[uuid] = (*found.get(uuid, ()), int(pid))
    return found


def _cuda_error(run: Run) -> str:
    try:
        run([sys.executable, "-I", "-c", _OPEN_CUDA])
    except (OSError, ToolError) as error:
        return f"CUDA: {error}"
    return ""


def torch_build(folder: Path | None = None) -> dict[str, str]:
    """What torch was built for, `{"cuda": "13.0"}`, read from its `version.py`; empty without torch.

    folder: of torch; found when absent.
    """
    if folder is None:
        spec = find_spec("torch")
        if spec is None or spec.origin is None:
            return {}
        folder = Path(spec.origin).parent
    try:
        tree = ast.parse((folder / "version.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return {}
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                found[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(value))):
                found[name] = value
    return found


def oldest_driver(cuda: str) -> tuple[int, int] | None:
    """The oldest driver for a version of CUDA, such as (580, 65); None if it is not known."""
    major = cuda.partition(".")[0]
    return OLDEST_DRIVER.get(int(major)) if major.isdecimal() else None


def driver_number(driver: str) -> tuple[int, int] | None:
    """The first two numbers of a driver's version."""
    parts = driver.split(".")[:2]
    if len(parts) < 2 or not all(part.isdecimal() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _run(command: Sequence[str]) -> str:
    # Ray hides the GPUs from workers that reserve none.
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWERS_WITHIN_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"no answer within {ANSWERS_WITHIN_S:g} s") from error
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise ToolError(said or f"ended with {done.returncode}")
    return done.stdout
