"""The driver's time per trial in a sweep of ten thousand trials, and the time to resume such a sweep.

    python -m benchmarks.ten_thousand_trials [--trials 10000] [--raw 1000] [--folder DIR]

Trials replay curves without training (`benchmarks.curves`), two at once, through the `launch_experiment`
that the command line uses, with its table: random search, ASHA from 1 to 27 epochs. Every call that Ray
makes to our searcher and our scheduler is timed; their total (sampling, the study, the stopping rule,
record and table) is our own share. Each value `at N` is the mean over the last tenth of N trials. Then
a separate process resumes the sweep for ten more trials, timed from its start to its first new trial's
first report. For comparison, Ray Tune with default settings runs over the same curves.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from tuning.cli.board import Board
from tuning.cli.progress import Progress
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment
from tuning.ledger.ledger import read_header, read_history, read_records
from tuning.ledger.records import ClosedRecord, EndedRecord, ReportRecord

ROOT = Path(__file__).resolve().parents[1]
MORE = 10
"""Trials that the resumed sweep adds."""
OURS = {
    "searcher": ("suggest", "on_trial_complete"),
    "scheduler": (
        "on_trial_add",
        "on_trial_error",
        "on_trial_result",
        "on_trial_complete",
        "choose_trial_to_run",
    ),
}
"""Our methods that Ray calls."""
LIMITS = {"growth": 1.5, "ms": 100.0, "kb": 50.0, "resume_s": 15.0}


@dataclass
class Meter:
    """Seconds spent in our code so far (wall time and processor time), noted at each trial's end."""

    ours_s: float = 0.0
    ours_cpu_s: float = 0.0
    at_end: list[tuple[float, float, float]] = field(default_factory=list)
    """Time, our wall seconds and our processor seconds after each trial."""
    _inside: bool = False

    def note_end(self) -> None:
        """Note the times at the end of a trial."""
        self.at_end.append((time.perf_counter(), self.ours_s, self.ours_cpu_s))

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `call` to time it, unless another timed call calls it."""

        @functools.wraps(call)
        def wrapper(*args: Any, **given: Any) -> Any:
            if self._inside:
                return call(*args, **given)
            self._inside = True
            started, processor = time.perf_counter(), time.thread_time()
            try:
                return call(*args, **given)
            finally:
                self.ours_s += time.perf_counter() - started
                self.ours_cpu_s += time.thread_time() - processor
                self._inside = False

        return wrapper

    def at(self, number: int) -> tuple[float, float, float]:
        """Milliseconds per trial over the last tenth of `number` trials: in all, ours, our processor time."""
        first, last = self.at_end[number - number // 10 - 1], self.at_end[number - 1]
        whole, ours, processor = (1000 * (b - a) / (number // 10) for a, b in zip(first, last, strict=True))
        return whole, ours, processor


@contextmanager
def timed_calls(meter: Meter) -> Iterator[None]:
    """Time all our methods that Ray calls, until the block ends."""
    from tuning.run.ray_scheduler import RecordingScheduler
    from tuning.run.ray_searcher import OptunaSearcher

    classes = {"searcher": OptunaSearcher, "scheduler": RecordingScheduler}
    before = {(kind, name): getattr(classes[kind], name) for kind, names in OURS.items() for name in names}
    for (kind, name), call in before.items():
        setattr(classes[kind], name, meter.timed(call))
    try:
        yield
    finally:
        for (kind, name), call in before.items():
            setattr(classes[kind], name, call)


def sweep(trials: int, folder: Path) -> tuple[Meter, int]:
    """Run the sweep; return the times, and the bytes on disk at its end, with Ray's own files."""
    from benchmarks.curves import Curve
    from tuning.run.launch import launch_experiment

    experiment = _experiment(trials)
    meter, written = Meter(), 0
    with (folder / "said.txt").open("w") as said:
        progress = Progress(Board(experiment), Console(file=said))

        def on_event(record: Any) -> None:
            nonlocal written
            progress(record)
            if isinstance(record, EndedRecord):
                meter.note_end()
                if len(meter.at_end) % 500 == 0:
                    whole, ours, _ = meter.at(len(meter.at_end))
                    print(f"{len(meter.at_end):6d} trials, {whole:.1f} ms each, ours {ours:.2f}", flush=True)
            elif isinstance(record, ClosedRecord):
                written = size_of(folder)

        with timed_calls(meter):
            launch_experiment(
                experiment, folder, trainable=Curve, prepare=lambda _: folder / "data", on_event=on_event
            )
    return meter, written


def _experiment(trials: int) -> Experiment:
    return load_experiment(ROOT / "benchmarks" / "ten_thousand_trials.yaml", [f"search.trials={trials}"])


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and its subfolders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def resume_in_process(folder: Path, trials: int) -> None:
    """Resume the sweep as the command does, with its table; runs in a process of its own."""
    from benchmarks.curves import Curve
    from tuning.ledger.header import experiment_of
    from tuning.run.resume import resume_experiment

    board = Board(experiment_of(read_header(folder)))
    with (folder.parent / "said.txt").open("a") as said:
        resume_experiment(
            folder,
            trials=trials,
            trainable=Curve,
            prepare=lambda _: folder.parent / "data",
            on_past=board.observe,
            on_event=Progress(board, Console(file=said)),
        )


def resumed_after(folder: Path, trials: int) -> tuple[float, float]:
    """Seconds from the start of a resuming process to its first new trial, and to that trial's report."""
    started = time.time()
    _process("benchmarks.ten_thousand_trials", "--resume", str(folder), "--trials", str(trials + MORE))
    first = read_history(folder).trials[trials]
    assert first.started > started
    reported = next(r for r in read_records(folder) if isinstance(r, ReportRecord) and r.trial == trials)
    return first.started - started, reported.time - started


def run_raw_ray(trials: int) -> dict[str, Any]:
    """Run Ray Tune with default settings; return its times and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        output = _process("benchmarks.peers.raw_ray_curves", str(trials), folder)
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def _process(module: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def report(trials: int, raw_trials: int, folder: Path) -> None:
    """Run everything and print the table."""
    before = os.getloadavg()[0]
    (folder / "data").mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)  # Ray's own files of the sweep are counted
    meter, written = sweep(trials, folder)
    few = min(1000, trials // 10)
    early, late = meter.at(few), meter.at(trials)
    mean_ms = 1000 * (meter.at_end[-1][0] - meter.at_end[0][0]) / (trials - 1)
    reports = sum(len(t.reports) for t in read_history(folder / "ten-thousand-trials").trials.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    new_s, report_s = resumed_after(folder / "ten-thousand-trials", trials)
    print(
        f"\n{trials} trials, {reports} reports, {os.cpu_count()} cores, driver's peak memory {peak_mb:.0f} MB"
        f"\nload of the machine: {before:.2f} before, {os.getloadavg()[0]:.2f} after"
    )
    print(f"{'ms a trial':24s} {'at ' + str(few):>10s} {'at ' + str(trials):>10s}   growth")
    for name, a, b in zip(("in all", "our own share", "  of it processor time"), early, late, strict=True):
        print(f"{name:24s} {a:10.2f} {b:10.2f}   {b / a:.2f}×")
    kb = written / 1024 / trials
    rows = [
        ("our share's growth", late[1] / early[1], LIMITS["growth"], "×"),
        ("in all, mean", mean_ms, LIMITS["ms"], "ms a trial"),
        ("on disk", kb, LIMITS["kb"], "KB a trial"),
        ("resume to first new trial", new_s, LIMITS["resume_s"], "s"),
    ]
    for name, value, limit, unit in rows:
        verdict = "ok" if value <= limit else "TOO MUCH"
        print(f"{name:26s} {value:8.2f} {unit:12s} at most {limit:g}  {verdict}")
    print(f"{'  to its first report':26s} {report_s:8.2f} s")
    if raw_trials:
        peer = run_raw_ray(raw_trials)
        ended, number = peer["ended"], peer["trials"]
        tenth = number // 10
        print(
            f"raw Ray Tune, {number} trials: {1000 * peer['whole_s'] / number:.1f} ms a trial"
            f" ({1000 * (ended[-1] - ended[-1 - tenth]) / tenth:.1f} over the last tenth),"
            f" {peer['bytes'] / 1024 / number:.1f} KB a trial;"
            f" ours there {1000 * (meter.at_end[number - 1][0] - meter.at_end[0][0]) / number:.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--raw", type=int, default=1000, help="trials of raw Ray Tune; 0: none")
    parser.add_argument("--folder", type=Path, help="an absent folder for everything; a temporary one else")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.resume is not None:
        resume_in_process(given.resume, given.trials)
    elif given.folder is not None:
        report(given.trials, given.raw, given.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(given.trials, given.raw, Path(folder) / "sweep")


if __name__ == "__main__":
    main()
