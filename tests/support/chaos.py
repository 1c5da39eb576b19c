"""Real sweeps through the command line, and the means to end their processes without warning."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cluster.forked.messages import COPY
from cluster.usable_cpus import count_usable_cpus
from trainables.training.checkpoint import MAGIC
from tuning.ledger.ledger import LEDGER, read_history

NAME = "chaos"
BATCH = 4
IMAGES = 192
FILE = f"""
name: {NAME}
task: segmentation
model: {{name: embedded, image_size: [32, 32]}}
data: {{embedded: {{domain: inverted, train: {IMAGES}, validation: 32, test: 1, side: 32}}}}
objective: {{metric: dice, value: best}}
trial: {{epochs: 4, batch_size: {BATCH}, schedule: cosine, loss: cross_entropy}}
space:
  adapter: {{choice: [lora, adalora, loha, serial_lora]}}
  freezing: {{choice: [frozen, unfrozen]}}
  learning_rate: {{float: [3e-4, 2e-2], log: true}}
search: {{tpe: {{startup_trials: 5}}, trials: 12, seed: 4}}
scheduler: {{asha: {{grace_epochs: 1, reduction_factor: 2}}}}
resources: {{concurrent: CONCURRENT, packing: PACKING}}
checkpoints: {{every_s: 0.1, every_epochs: 1}}
retries: RETRIES
scoring: {{trials: none}}
"""
"""Twelve short trials, some with AdaLoRA's allocator or a trained backbone; saved in mid-epoch too.

A worker spends at most a twentieth of its time on saving: an epoch must be long enough that one of its saves
lies in the middle, on fast machines too.
"""
POLL_S = 0.005
"""Seconds between two checks for an event."""
AGENTS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's processes that hold no actor; its agents outlive a killed raylet by a minute."""


@dataclass(frozen=True)
class Process:
    """A process of this machine; its start time distinguishes it from a later one with the same pid."""

    pid: int
    started: int
    parent: int
    name: str

    @classmethod
    def read(cls, pid: int) -> Process | None:
        """Read a process; None if it has ended or is a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            called = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return None
        # The second field, in brackets, may itself contain spaces and brackets.
        state, parent, *rest = stat.rpartition(")")[2].split()
        return (
            None if state == "Z" else cls(pid, int(rest[17]), int(parent), COPY if called == COPY else name)
        )

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        now = Process.read(self.pid)
        return now is not None and now.started == self.started

    @property
    def holds_an_actor(self) -> bool:
        """Whether it holds an actor, which trains or is idle, or trains for one."""
        return self.name == COPY or (self.name.startswith("ray::") and self.name not in AGENTS)

    def kill(self) -> None:
        """`kill -9`."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Suspend the process until `thaw`; it can be killed meanwhile."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)


def descendants(pid: int) -> list[Process]:
    """All descendants of the process `pid`."""
    every = [Process.read(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    below, found = {pid}, []
    # A child may have a smaller pid than its parent, so repeat until nothing is added.
    while fresh := [p for p in every if p is not None and p.parent in below and p.pid not in below]:
        below |= {p.pid for p in fresh}
        found += fresh
    return found


def freeze(pid: int) -> list[Process]:
    """Suspend a process and all its descendants; returns them, for `thaw`.

    From above to below, again until nothing is new: what is not frozen yet may start more.
    """
    frozen: list[Process] = []
    found = [each for each in [Process.read(pid)] if each is not None]
    while fresh := [each for each in found if each not in frozen]:
        for each in fresh:
            each.freeze()
        frozen += fresh
        found = descendants(pid)
    return frozen


def thaw(frozen: Sequence[Process]) -> None:
    """Let processes continue, the last descendants first: workers train before they learn of anything."""
    for each in reversed(frozen):
        each.thaw()


@dataclass(frozen=True)
class Driver:
    """A running `adaptertune launch` or `resume`, and the record that it writes."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    def wait_for(self, reached: Callable[[], bool], within_s: float = 600.0, every_s: float = POLL_S) -> None:
        """Wait until `reached` is true. Raises AssertionError if the driver ends or it takes too long."""

        def reached_or_ended() -> bool:
            if reached():
                return True
            assert self.process.poll() is None, f"the driver ended before:\n{self.said()}"
            return False

        wait_until(reached_or_ended, within_s, every_s, self.said)

    def wait_for_events(self, number: int, within_s: float = 600.0) -> None:
        """Wait until its record has so many `events`. Raises AssertionError as `wait_for` does."""
        read = -1

        def reached() -> bool:
            nonlocal read
            size = (self.folder / LEDGER).stat().st_size if (self.folder / LEDGER).exists() else -1
            if size == read:
                return False
            read = size
            return len(events(self.folder)) >= number

        self.wait_for(reached, within_s)

    def workers(self) -> list[Process]:
        """Its processes that hold actors."""
        return [p for p in descendants(self.process.pid) if p.holds_an_actor]

    def raylet(self) -> Process:
        """The raylet of the Ray that it started."""
        (found,) = (p for p in descendants(self.process.pid) if Path(p.name.split()[0]).name == "raylet")
        return found

    def kill(self) -> list[Process]:
        """Send `kill -9`; return the processes that were its descendants."""
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        return below

    def finish(self, within_s: float = 1200.0) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(timeout=within_s)

    def said(self) -> str:
        """Everything that it printed."""
        return self.output.read_text(errors="replace")


@dataclass(frozen=True)
class Place:
    """Where sweeps run: a storage folder, and a cache of prepared data that several places share.

    name: of the experiment.  environment: variables of its processes.  inside: the start of their command
    lines, such as of a program that runs them in a namespace.
    """

    storage: Path
    cache: Path
    name: str = NAME
    environment: Mapping[str, str] = field(default_factory=dict)
    inside: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.storage / self.name

    def launch(self, *changes: str, concurrent: int = 1, retries: int = 0) -> tuple[str, ...]:
        """Write the sweep's file; return the command that launches it. changes: as in `--set`."""
        file = self.storage / f"{NAME}.yaml"
        text = FILE.replace("CONCURRENT", str(concurrent)).replace("RETRIES", str(retries))
        file.write_text(text.replace("PACKING", "off"))
        return ("launch", str(file), *(part for change in changes for part in ("--set", change)))

    def launch_packed(self, *changes: str, concurrent: int = 3) -> tuple[str, ...]:
        """Like `launch`, with all trials in a single pack, so that the order of events is defined.

        The seed is one with which many trials continue after a report.
        """
        one = (f"resources.cpus={count_usable_cpus()}", f"resources.packing={concurrent}", "search.seed=2")
        return self.launch(*one, *changes, concurrent=concurrent)

    @contextmanager
    def run(self, *command: str) -> Iterator[Driver]:
        """Run `adaptertune COMMAND --storage …` in the background; kill what is left of it at the end."""
        output = self.storage / f"said-{self.name}.txt"
        with output.open("ab") as file:
            process = subprocess.Popen(
                self._line(*command),
                cwd=self.storage,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        driver = Driver(process, self.folder, output)
        try:
            yield driver
        finally:
            if process.poll() is None:
                for each in driver.kill():
                    each.kill()

    def finish(self, *command: str) -> None:
        """Run a command to its end; its exit code must be 0."""
        with self.run(*command) as driver:
            assert driver.finish() == 0, driver.said()

    def read(self, *command: str) -> str:
        """Run a command; return what it prints. Its exit code must be 0."""
        done = subprocess.run(
            self._line(*command),
            cwd=self.storage,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def best(self) -> dict[str, Any]:
        """The best trial as `adaptertune best` prints it, without times and memory."""
        first = json.loads(self.read("best", self.name, "--format", "json"))["trials"][0]
        return {key: first[key] for key in ("trial", "value", "epoch", "config", "metrics", "outcome")}

    @property
    def _environment(self) -> dict[str, str]:
        ours = {"ADAPTERTUNE_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1"}
        return os.environ | ours | dict(self.environment)

    def _line(self, *command: str) -> list[str]:
        ours = [sys.executable, "-P", "-m", "tuning.cli", *command, "--storage", str(self.storage)]
        return [*self.inside, *ours]


def wait_until(
    reached: Callable[[], bool],
    within_s: float = 300.0,
    every_s: float = POLL_S,
    said: Callable[[], str] = str,
) -> None:
    """Wait until `reached` is true. Raises AssertionError with the output `said` if it takes too long.

    every_s: the least time between two checks; more if a check takes long, so that what is tested has the
    processor.
    """
    deadline = time.monotonic() + within_s
    while True:
        began = time.monotonic()
        if reached():
            return
        now = time.monotonic()
        assert now < deadline, f"still waiting after {within_s} s:\n{said()}"
        time.sleep(max(every_s, 5 * (now - began)))


def lines(folder: Path) -> int:
    """The number of complete lines of an experiment's record."""
    return (folder / LEDGER).read_bytes().count(b"\n")


def events(folder: Path) -> list[tuple[str, int, float | None]]:
    """What has happened to trials, by kind, trial and epoch; an event repeated after a death counts once.

    So the number of events gives the progress of a sweep, whether or not it was killed and resumed.
    """
    try:
        whole_lines = (folder / LEDGER).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    records = [json.loads(line) for line in whole_lines]
    return list(dict.fromkeys((r["kind"], r["trial"], r.get("epoch")) for r in records if "trial" in r))


def saved_steps(folder: Path) -> dict[int, int]:
    """The optimizer step of each trial's last checkpoint."""
    return {
        int(path.parent.name): _step_of(path, path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.glob("trials/*/last.ckpt")
    }


@lru_cache(maxsize=1024)
def _step_of(path: Path, written_ns: int, file: int) -> int:
    """The step of a checkpoint; its time and number say when it is another one."""
    state = io.BytesIO(path.read_bytes()[len(MAGIC) + 32 :])
    return int(torch.load(state, map_location="cpu", weights_only=True)["step"])


def trials_in_mid_epoch(folder: Path, *, images: int = IMAGES) -> set[int]:
    """The running trials that have saved a checkpoint in mid-epoch, after their last report.

    A trial that is killed then continues from that checkpoint. At an epoch's end ASHA may stop it instead.
    """
    saved = saved_steps(folder)  # before the record: what is written meanwhile can only remove a trial
    return {
        trial.number
        for trial in read_history(folder).trials.values()
        if trial.ended is None
        and (step := saved.get(trial.number, 0)) % (images // BATCH)
        and step > max((report.step for report in trial.reports), default=0)
    }


def freeze_in_mid_epoch(
    workers: Sequence[Process], folder: Path, *, trials: int = 1, images: int = IMAGES
) -> bool:
    """Whether so many trials are in mid-epoch; only if so, the workers stay frozen, ready to be killed.

    If not frozen, they might reach the epoch's end between this check and the kill.
    """
    if not workers or len(trials_in_mid_epoch(folder, images=images)) < trials:
        return False
    held = False
    try:
        for each in workers:
            each.freeze()
        held = len(trials_in_mid_epoch(folder, images=images)) >= trials
    finally:
        if not held:
            for each in workers:
                each.thaw()
    return held
