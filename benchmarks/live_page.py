"""What two open live pages cost the driver of a sweep that runs.

    python -m benchmarks.live_page [--pairs 12] [--block 20] [--pause 0.2] [--chromium]

One sweep runs, of trials that replay curves (`benchmarks.curves`) with a pause before each report, two at
once: several reports a second, which is faster than models train. `adaptertune serve` follows it from its
first report.
In turn two pages are open for a block of seconds and closed for one, in an order that changes from pair to
pair; the first seconds of a block are not counted. An open page is a connection that reads all events, as a
browser on another machine has it. With `--chromium` it is a page in Chromium on this machine, which then
competes with the sweep for its processors, as any other program does. Printed are the driver's processor
seconds for each report with and without pages, the ratio with a 95 % bootstrap interval over pairs, and the
processor seconds of the server.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ten_thousand_trials import ROOT
from tuning.experiment.load import load_experiment
from tuning.ledger.ledger import LEDGER

NAME = "ten-thousand-trials"
PAGES = 2
SETTLE_S = 5.0
"""Seconds at the start of a block that are not counted: pages open, and load everything once."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class Block:
    """A block of the measurement: processor seconds, and reports that came."""

    driver_s: float
    server_s: float
    reports: int

    @property
    def each_ms(self) -> float:
        """The driver's processor milliseconds for a report."""
        return 1000 * self.driver_s / max(1, self.reports)


def drive(storage: Path, pause_s: float) -> None:
    """Run the sweep until it is interrupted; in a process of its own."""
    from benchmarks.curves import Curve
    from tuning.run.launch import launch_experiment

    class Paused(Curve):
        """A trial with a pause before each report."""

        def step(self) -> dict[str, Any]:
            time.sleep(pause_s)
            return super().step()

    experiment = load_experiment(ROOT / "benchmarks" / "ten_thousand_trials.yaml", [])
    (storage / "data").mkdir(parents=True)
    launch_experiment(experiment, storage, trainable=Paused, prepare=lambda _: storage / "data")


def processor_s(pid: int) -> float:
    """The processor seconds of a process, with all its threads and without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reports_in(storage: Path) -> int:
    """The reports in the record so far."""
    try:
        return (storage / NAME / LEDGER).read_bytes().count(b'"kind":"report"')
    except FileNotFoundError:
        return 0


def measure(storage: Path, driver: int, server: int, seconds: float) -> Block:
    """Wait, and measure."""
    time.sleep(SETTLE_S)
    before = processor_s(driver), processor_s(server), reports_in(storage)
    time.sleep(seconds)
    after = processor_s(driver), processor_s(server), reports_in(storage)
    return Block(after[0] - before[0], after[1] - before[1], after[2] - before[2])


@contextmanager
def read_pages(address: str) -> Iterator[None]:
    """Open pages as connections that read all events."""
    where, ended = urlsplit(address), threading.Event()

    def read() -> None:
        viewer = HTTPConnection(where.hostname or "", where.port, timeout=60)
        viewer.request("GET", f"/events?{where.query}")
        answer = viewer.getresponse()
        while not ended.is_set() and answer.readline():
            pass
        viewer.close()

    readers = [threading.Thread(target=read) for _ in range(PAGES)]
    for reader in readers:
        reader.start()
    yield
    ended.set()
    for reader in readers:
        reader.join()


@contextmanager
def shown_pages(browser: Any, address: str) -> Iterator[None]:
    """Open pages in Chromium."""
    contexts = [browser.new_context() for _ in range(PAGES)]
    for context in contexts:
        page = context.new_page()
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_selector(".curve", timeout=60_000)
    yield
    for context in contexts:
        context.close()


@contextmanager
def opener(address: str, *, chromium: bool) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A function that opens the pages, for as long as its context lasts."""
    if not chromium:
        yield lambda: read_pages(address)
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield lambda: shown_pages(browser, address)
        browser.close()


def blocks(storage: Path, driver: int, server: int, address: str, given: argparse.Namespace) -> None:
    """Measure all pairs, and print them."""
    found: dict[bool, list[Block]] = {True: [], False: []}
    with opener(address, chromium=given.chromium) as open_pages:
        for pair in range(given.pairs):
            for opened in (True, False) if pair % 2 else (False, True):
                with open_pages() if opened else nullcontext():
                    found[opened].append(measure(storage, driver, server, given.block))
            with_, without = found[True][-1], found[False][-1]
            print(
                f"pair {pair + 1:2d}: {with_.each_ms:6.2f} ms a report with pages, {without.each_ms:6.2f}"
                f" without; {with_.reports} and {without.reports} reports",
                flush=True,
            )
    summary(found[True], found[False])


def ratio(pairs: Sequence[tuple[Block, Block]]) -> float:
    """The driver's seconds for a report with pages, over those without."""
    with_, without = (
        sum(one.driver_s for one in side) / sum(one.reports for one in side)
        for side in zip(*pairs, strict=True)
    )
    return with_ / without


def summary(with_: Sequence[Block], without: Sequence[Block]) -> None:
    """Print the ratio and its interval, and what the server itself takes."""
    pairs, rng = list(zip(with_, without, strict=True)), random.Random(0)
    drawn = sorted(ratio([rng.choice(pairs) for _ in pairs]) for _ in range(RESAMPLES))
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
    for name, side in (("with two pages", with_), ("without", without)):
        reports = sum(one.reports for one in side)
        driver, server = (sum(getattr(one, part) for one in side) for part in ("driver_s", "server_s"))
        print(
            f"{name:15s} driver {driver:6.2f} s for {reports} reports"
            f" ({1000 * driver / reports:.2f} ms each), server {server:6.2f} s"
        )
    print(f"ratio {ratio(pairs):.3f} (95 % interval {low:.3f} to {high:.3f}, {len(pairs)} pairs)")
    print(f"{os.cpu_count()} cores; load of the machine: {os.getloadavg()[0]:.2f}")


def report(given: argparse.Namespace, storage: Path) -> None:
    """Start the sweep and the server, measure, and end both."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    me = [sys.executable, "-m", "benchmarks.live_page", "--drive", str(storage), "--pause", str(given.pause)]
    with (storage.parent / "driver.txt").open("w") as said:
        driver = subprocess.Popen(me, cwd=ROOT, env=environment, stdout=said, stderr=said)
        server = None
        try:
            while reports_in(storage) == 0:
                if driver.poll() is not None:
                    raise SystemExit((storage.parent / "driver.txt").read_text()[-4000:])
                time.sleep(0.5)
            serving = [
                sys.executable,
                "-P",
                "-m",
                "tuning.cli",
                "serve",
                NAME,
                "--storage",
                str(storage),
                "--port",
                "0",
            ]
            server = subprocess.Popen(
                serving,
                cwd=storage,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert server.stdout is not None
            address = re.search(r"http\S+", server.stdout.readline())
            assert address is not None
            blocks(storage, driver.pid, server.pid, address[0], given)
        finally:
            for process in (server, driver):
                if process is not None:
                    process.terminate()
            for process in (server, driver):
                if process is not None:
                    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--block", type=float, default=20.0, help="seconds of a block that count")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds before each report")
    parser.add_argument("--chromium", action="store_true", help="pages in Chromium on this machine")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive is not None:
        drive(given.drive, given.pause)
        return
    with tempfile.TemporaryDirectory() as folder:
        report(given, Path(folder) / "sweep")


if __name__ == "__main__":
    main()
