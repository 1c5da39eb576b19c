"""Which driver may write: each one claims an attempt number before it writes anything.

A claim is a file of its own in the folder `attempts`, which only one process can create, also on file systems
without locks. Beside it is a heartbeat, a number that the driver counts up from a thread; its last content is
`ended`. The driver with the highest number may write; one that sees a higher number than its own stops.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trainables.errors import LedgerError

FOLDER = "attempts"
FIRST = 1
"""The attempt of the driver that launches an experiment."""
BEAT_S = 2.0
"""Seconds between two heartbeats."""
ENDED = "ended"
"""The heartbeat of a driver that has ended in an orderly way."""
_RECORD = "ledger.jsonl"
"""Equal to `tuning.ledger.ledger.LEDGER`; that module imports this one."""
_CLAIM = re.compile(r"(\d{6,})\.json")


@dataclass(frozen=True)
class Process:
    """A process and the machine on which its number means something.

    machine: the boot and the process namespace; empty where they are not known.  began: when the process
    started, in ticks of the kernel; None if not known.
    """

    host: str
    pid: int
    machine: str = ""
    began: int | None = None

    @classmethod
    def this(cls) -> Self:
        """The process that calls."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, this_machine(), _began(pid))

    @property
    def told(self) -> str:
        """How a message names it."""
        return f"process {self.pid} on {self.host}"

    def alive(self) -> bool | None:
        """Whether it runs; None if that cannot be seen from here, as it is another machine or container."""
        if not self.machine or self.machine != this_machine() or self.began is None:
            return None
        return _began(self.pid) == self.began


def this_machine() -> str:
    """What tells this boot of this machine, and this process namespace, from others; empty if not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


@dataclass(frozen=True)
class Claim:
    """What is known of the newest attempt. driver: None if its file cannot be read."""

    number: int
    driver: Process | None
    path: Path
    """Of its heartbeat."""
    of_copy: bool = False
    """Whether the folder is a copy of the one in which the number was claimed."""


def newest_claim(folder: Path) -> Claim | None:
    """The newest attempt of an experiment; None of a record of before."""
    number = max(_numbers(folder), default=None)
    if number is None:
        return None
    beat = beat_file(folder, number)
    try:
        said = json.loads(claim_file(folder, number).read_text(encoding="utf-8"))
        of_copy = said["record"] != _inode(folder)
        return Claim(number, Process(**said["driver"]), beat, of_copy)
    except (OSError, ValueError, TypeError, KeyError):
        return Claim(number, None, beat)


def _inode(folder: Path) -> int:
    """The inode of the record, which is that of all machines and stays when the folder is moved."""
    return os.stat(folder / _RECORD).st_ino


def claim_file(folder: Path, number: int) -> Path:
    """The file that claims an attempt. folder: the experiment's."""
    return folder / FOLDER / f"{number:06d}.json"


def beat_file(folder: Path, number: int) -> Path:
    """The heartbeat of an attempt. folder: the experiment's."""
    return folder / FOLDER / f"{number:06d}.beat"


def _numbers(folder: Path) -> list[int]:
    try:
        found = [_CLAIM.fullmatch(name) for name in os.listdir(folder / FOLDER)]
    except OSError:
        return []
    return [int(match[1]) for match in found if match is not None]


class Attempt:
    """A claim of this process, and its heartbeat, until it ends."""

    def __init__(self, folder: Path, number: int, beat_s: float = BEAT_S) -> None:
        """See `claim`."""
        self.number = number
        self._next = claim_file(folder, number + 1)
        self._beat = beat_file(folder, number)
        self._beat_s = beat_s
        self._count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)

    @classmethod
    def claim(cls, folder: Path, *, above: int = 0, beat_s: float = BEAT_S) -> Self:
        """Claim the number after the newest one, and begin its heartbeat. There must be a record.

        above: a number that is taken, though its file may be gone.  Raises LedgerError if another process
        claims the same number first, OSError.
        """
        (folder / FOLDER).mkdir(exist_ok=True)
        number = 1 + max([above, *_numbers(folder)])
        attempt = cls(folder, number, beat_s)
        said = {"driver": asdict(Process.this()), "record": _inode(folder), "time": time.time()}
        attempt._write()  # before the claim, so that a claim always has a heartbeat
        try:
            claimed = os.open(claim_file(folder, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError as error:
            raise LedgerError(f"another driver of {folder.name} has just started") from error
        try:
            with os.fdopen(claimed, "w", encoding="utf-8") as file:
                file.write(json.dumps(said))
        except BaseException:  # a claim of nobody known would be waited for
            claim_file(folder, number).unlink(missing_ok=True)
            attempt._beat.unlink(missing_ok=True)
            raise
        attempt._thread.start()
        return attempt

    def superseded(self) -> bool:
        """Whether a newer attempt was claimed. Costs one look into the file system."""
        return os.path.exists(self._next)

    def end(self) -> None:
        """End the heartbeat, and say that the driver has ended; may be called twice."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._write(ENDED)

    def _go_on(self) -> None:
        while not self._over.wait(self._beat_s):
            self._write()

    def _write(self, text: str | None = None) -> None:
        """Write the heartbeat. A disk that is full or gone does not end the sweep here."""
        self._count += 1
        with suppress(OSError):
            self._beat.write_text(f"{self._count if text is None else text}\n", encoding="ascii")
