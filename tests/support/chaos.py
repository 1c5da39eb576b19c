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
from pathlib import Path
from typing import Any

import torch

from trainables.training.checkpoint import MAGIC
from tuning.ledger.ledger import LEDGER, read_history

NAME = "chaos"
BATCH = 4
IMAGES = 96
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
resources: {{concurrent: CONCURRENT}}
checkpoints: {{every_s: 0.1, every_epochs: 1}}
retries: RETRIES
scoring: {{trials: none}}
"""
"""Twelve short trials with AdaLoRA's allocator and moved backbones among them, saved in mid-epoch too."""
LOOK_S = 0.005
"""Between two looks, where a moment is to be met."""
AGENTS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's processes that hold no actor; its agents outlive a killed raylet by a minute."""


@dataclass(frozen=True)
class Process:
    """One of this machine's processes; when it started tells it from a later one of the same number."""

    pid: int
    started: int
    parent: int
    name: str

    @classmethod
    def read(cls, pid: int) -> Process | None:
        """None where it is gone, or is a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            return None
        # The second field, in brackets, may itself hold blanks and brackets.
        state, parent, *rest = stat.rpartition(")")[2].split()
        return None if state == "Z" else cls(pid, int(rest[17]), int(parent), name)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        now = Process.read(self.pid)
        return now is not None and now.started == self.started

    @property
    def holds_an_actor(self) -> bool:
        """Whether it trains, or may be asked to."""
        return self.name.startswith("ray::") and self.name not in AGENTS

    def kill(self) -> None:
        """`kill -9`."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """It does nothing more until it is thawed; it can be killed meanwhile."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was frozen."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)


def descendants(pid: int) -> list[Process]:
    """All processes below `pid`."""
    every = [Process.read(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    below, found = {pid}, []
    # A child may have a smaller number than its parent, so until nothing is added.
    while fresh := [p for p in every if p is not None and p.parent in below and p.pid not in below]:
        below |= {p.pid for p in fresh}
        found += fresh
    return found


@dataclass(frozen=True)
class Driver:
    """An `adaptertune launch` or `resume` that runs, and the record it writes."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    def wait_for(self, reached: Callable[[], bool], within_s: float = 120.0, every_s: float = LOOK_S) -> None:
        """Until something is so. Raises AssertionError where the driver ends or it takes too long."""

        def reached_or_ended() -> bool:
            if reached():
                return True
            assert self.process.poll() is None, f"the driver ended before:\n{self.said()}"
            return False

        wait_until(reached_or_ended, within_s, every_s, self.said)

    def wait_for_events(self, number: int) -> None:
        """Until its record has so many, see `events`."""
        self.wait_for(lambda: len(events(self.folder)) >= number)

    def workers(self) -> list[Process]:
        """Those of its processes that train."""
        return [p for p in descendants(self.process.pid) if p.holds_an_actor]

    def raylet(self) -> Process:
        """Of the Ray that it started."""
        (found,) = (p for p in descendants(self.process.pid) if Path(p.name.split()[0]).name == "raylet")
        return found

    def kill(self) -> list[Process]:
        """`kill -9`; returns what was below it."""
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        return below

    def finish(self, within_s: float = 240.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout=within_s)

    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text(errors="replace")


@dataclass(frozen=True)
class Place:
    """Where sweeps run: a storage folder, and a cache of prepared data that several places share.

    name: the experiment's.  environment: variables of its processes.
    """

    storage: Path
    cache: Path
    name: str = NAME
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The experiment's."""
        return self.storage / self.name

    def launch(self, *, concurrent: int = 1, retries: int = 0) -> tuple[str, ...]:
        """Writes the sweep's file; returns the command that launches it."""
        file = self.storage / f"{NAME}.yaml"
        file.write_text(FILE.replace("CONCURRENT", str(concurrent)).replace("RETRIES", str(retries)))
        return ("launch", str(file))

    @contextmanager
    def run(self, *command: str) -> Iterator[Driver]:
        """`adaptertune COMMAND --storage …` in the background; what is left of it in the end is killed."""
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
        """Runs a command to its end, which must be a good one."""
        with self.run(*command) as driver:
            assert driver.finish() == 0, driver.said()

    def read(self, *command: str) -> str:
        """What a command prints by its end, which must be a good one."""
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
        """The best trial, as `adaptertune best` has it, without what it took."""
        first = json.loads(self.read("best", self.name, "--format", "json"))["trials"][0]
        return {key: first[key] for key in ("trial", "value", "epoch", "config", "metrics", "outcome")}

    @property
    def _environment(self) -> dict[str, str]:
        ours = {"ADAPTERTUNE_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1"}
        return os.environ | ours | dict(self.environment)

    def _line(self, *command: str) -> list[str]:
        return [sys.executable, "-P", "-m", "tuning.cli", *command, "--storage", str(self.storage)]


def wait_until(
    reached: Callable[[], bool],
    within_s: float = 60.0,
    every_s: float = LOOK_S,
    said: Callable[[], str] = str,
) -> None:
    """Until something is so. Raises AssertionError, with what was `said`, where it takes too long."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"still waiting after {within_s} s:\n{said()}"
        time.sleep(every_s)


def lines(folder: Path) -> int:
    """Whole lines of an experiment's record."""
    return (folder / LEDGER).read_bytes().count(b"\n")


def events(folder: Path) -> list[tuple[str, int, float | None]]:
    """What has happened to trials, by kind, trial and epoch; what came again after a death counts once.

    So a sweep that died and goes on is as far as one that did not when it has as many.
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
        int(path.parent.name): torch.load(
            io.BytesIO(path.read_bytes()[len(MAGIC) + 32 :]), map_location="cpu", weights_only=True
        )["step"]
        for path in folder.glob("trials/*/last.ckpt")
    }


def amid_an_epoch(folder: Path, *, images: int = IMAGES) -> set[int]:
    """The trials that run, have reported what their last checkpoint holds, and have saved on the way to more.

    One that is killed then goes on from there. At an epoch's end ASHA may have no more of it.
    """
    saved = saved_steps(folder)  # before the record: what comes meanwhile can only take a trial away
    return {
        trial.number
        for trial in read_history(folder).trials.values()
        if trial.ended is None
        and (step := saved.get(trial.number, 0)) % (images // BATCH)
        and step > max((report.step for report in trial.reports), default=0)
    }


def hold_amid_an_epoch(
    workers: Sequence[Process], folder: Path, *, trials: int = 1, images: int = IMAGES
) -> bool:
    """Whether so many trials are amid an epoch; only if they are, the workers stay frozen until a death.

    Unfrozen, they might get to the epoch's end between this look and that.
    """
    held = False
    try:
        for each in workers:
            each.freeze()
        held = bool(workers) and len(amid_an_epoch(folder, images=images)) >= trials
    finally:
        if not held:
            for each in workers:
                each.thaw()
    return held
