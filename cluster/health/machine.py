"""What a node has for its processes: CPUs, memory, shared memory, open files, a temporary folder."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.auth_token import exposed_token
from cluster.usable_cpus import count_usable_cpus

SHARED_MEMORY = Path("/dev/shm")
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_CGROUP_USED = ("memory.current", "memory/memory.usage_in_bytes")


@dataclass(frozen=True)
class Machine:
    """What a process on the node has. Sizes are in bytes; None where they are not known.

    memory, memory_free: of the machine, or of its container if that has less.
    open_files: the soft and the hard limit of a process.
    exposed_token: the file of Ray's token, if it is used there and other users of the machine can read it.
    temporary: the folder for temporary files.  temporary_error: why nothing can be written there, or empty.
    """

    cpus: int
    memory: int | None
    memory_free: int | None
    shared_memory: int | None
    shared_memory_free: int | None
    open_files: tuple[int, int]
    temporary: str
    temporary_free: int | None
    temporary_error: str = ""
    exposed_token: str | None = None


def look_at_machine() -> Machine:
    """What this process has."""
    memory, memory_free = read_memory()
    shared = _disk(SHARED_MEMORY)
    temporary, error = _temporary()
    return Machine(
        count_usable_cpus(),
        memory,
        memory_free,
        None if shared is None else shared[0],
        None if shared is None else shared[1],
        resource.getrlimit(resource.RLIMIT_NOFILE),
        temporary,
        None if (disk := _disk(Path(temporary))) is None else disk[1],
        error,
        None if (token := exposed_token()) is None else str(token),
    )


def read_memory(
    *, proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> tuple[int | None, int | None]:
    """All memory and what is free of it, in bytes; within a container's limit if that is lower."""
    try:
        lines = [line.split() for line in proc.read_text(encoding="ascii").splitlines()]
        known = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
        total, free = known["MemTotal"], known["MemAvailable"]
    except (OSError, ValueError, KeyError):  # not on Linux
        return None, None
    for limit_file, used_file in zip(_CGROUP_LIMITS, _CGROUP_USED, strict=True):
        try:
            limit, used = (
                int((cgroup / name).read_text(encoding="ascii")) for name in (limit_file, used_file)
            )
        except (OSError, ValueError):  # not there, or "max"
            continue
        if limit < total:
            total, free = limit, min(free, max(0, limit - used))
    return total, free


def _disk(folder: Path) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.total, usage.free


def _temporary() -> tuple[str, str]:
    try:
        with tempfile.NamedTemporaryFile(prefix="adaptertune-check-") as file:
            file.write(b"x")
            return os.path.dirname(file.name), ""
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
        return folder, error.strerror or str(error)
