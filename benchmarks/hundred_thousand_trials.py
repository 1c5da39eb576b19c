"""How long `best` and `query` take over 100,000 trials with 1,000,000 epochs, while a sweep writes.

    python -m benchmarks.hundred_thousand_trials [--trials 100000] [--folder DIR] [--peers]

The record is synthetic: trials of ten epochs on average, most stopped at a rung. Its tables are written
by the driver's own writer. Then each command is timed as a whole process, from its start to its exit,
while another process appends to the record, with its tables, as a sweep of many workers would. The
result is the median of five runs, after one that compiles the modules. Two lines show the machine's
speed at that time: an empty Python process, and one that only imports the libraries. `--peers` also
times the alternatives to the tables: pandas over the same record, and Optuna's SQLite storage (1,000
trials, as it takes hours to write 100,000).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuning.experiment.space import Space, config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.checksum import with_checksum
from tuning.ledger.ledger import LEDGER, Ledger, read_header
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import (
    BuiltRecord,
    EndedRecord,
    ExperimentRecord,
    PreparedRecord,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.tables.parquet_parts import Tables, valid_parts

ROOT = Path(__file__).resolve().parents[1]
NAME = "hundred-thousand-trials"
EPOCHS = 40
LENGTHS = (3,) * 73 + (9,) * 29 + (40,) * 18
"""Epochs of 120 trials: ten on average, the rungs of ASHA."""
RUNS = 5
LIMIT_S = 1.0
PER_S = 50
"""Reports per second that are appended meanwhile: fifty workers with an epoch per second."""
QUESTIONS: dict[str, tuple[str, ...]] = {
    "best": ("best", NAME),
    "best --where": ("best", NAME, "--where", "adapter = 'lora' AND lora.rank >= 8"),
    "query, filtered, grouped": (
        "query",
        NAME,
        "SELECT adapter, lora.rank, count(*) AS trials, avg(value) AS mean, max(value) AS best FROM trials"
        " WHERE outcome = 'completed' AND learning_rate < 0.003 GROUP BY ALL ORDER BY best DESC",
    ),
    "query over epochs": (
        "query",
        NAME,
        "SELECT epoch, count(*) AS reports, avg(dice) AS mean FROM epochs"
        " WHERE loss < 0.6 GROUP BY epoch ORDER BY epoch LIMIT 10",
    ),
    "best --at 3": ("best", NAME, "--at", "3"),
}
FLOOR = {
    "an empty process": "pass",
    "the libraries' imports": "import duckdb, pydantic.main, rich.table, typer; duckdb.connect()",
}
"""The least time of any program that uses these libraries."""
SPACE = {
    "adapter": {"choice": ["none", "lora", "serial_lora"]},
    "freezing": [
        {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
        {"choice": ["frozen", "unfrozen"], "when": {"adapter": ["lora", "serial_lora"]}},
    ],
    "learning_rate": {"float": [1e-4, 1e-2], "log": True},
    "lora.rank": {"choice": [4, 8, 16, 32]},
}


# --- the record -------------------------------------------------------------------------------


def experiment(trials: int) -> Experiment:
    written: dict[str, Any] = {
        "name": NAME,
        "task": "segmentation",
        "objective": {"metric": "dice"},
        "trial": {"epochs": EPOCHS, "batch_size": 16},
        "space": Space.parse(SPACE).model_dump(mode="json"),
        "search": {"random": {}, "trials": trials},
        "scheduler": {"asha": {"grace_epochs": 3.0, "reduction_factor": 3.0}},
    }
    return Experiment.model_validate_json(json.dumps(written))


def records_of(number: int, space: Space) -> Iterator[Record]:
    """The records of a trial from its start to its end."""
    rng = random.Random(number)
    params = space.sample(rng)
    length = LENGTHS[number % len(LENGTHS)]
    now = 1.7e9 + number
    yield StartedRecord(time=now, trial=number, params=params, hash=config_hash(params))
    yield BuiltRecord(
        time=now, trial=number, parameters={"adapter": 1024, "head": 2000, "backbone": 0, "total": 1_000_000}
    )
    top, best = rng.uniform(0.4, 0.9), 0.0
    for epoch in range(1, length + 1):
        value = top * (1 - 0.7**epoch) + rng.gauss(0, 0.01)
        best = max(best, value)
        yield ReportRecord(
            time=now + epoch, trial=number, epoch=float(epoch), step=epoch * 10, objective=best,
            metrics={"dice": value, "loss": 1 - value, "dice/cell": value, "iou": value / (2 - value)},
            train_s=1.0, evaluate_s=0.2, wait_s=0.01, samples=160, peak_mb=100.0 + rng.random(),
            outcome="completed" if length == EPOCHS and epoch == length else None,
        )  # fmt: skip
    if length < EPOCHS:
        yield StoppedRecord(time=now + length, trial=number, by=StoppedBy.ASHA, epoch=float(length))
    yield EndedRecord(
        time=now + length, trial=number, value=best, epoch=float(length),
        outcome=Outcome.COMPLETED if length == EPOCHS else Outcome.PRUNED,
    )  # fmt: skip


def generate(folder: Path, trials: int) -> tuple[float, float]:
    """Write the record and its tables; return the seconds that each took."""
    asked = experiment(trials)
    header = ExperimentRecord(name=NAME, file="", experiment=asked.model_dump(mode="json"))
    began = time.perf_counter()
    with Ledger.create(folder, header) as ledger:
        ledger.append(PreparedRecord(fingerprint="f", counts={"train": 160, "validation": 32}))
    with (folder / LEDGER).open("ab") as file:  # like `Ledger.append`, but many lines at once
        for number in range(trials):
            for record in records_of(number, asked.space):
                file.write(with_checksum(record.model_dump_json(by_alias=True).encode()))
    written = time.perf_counter() - began
    began = time.perf_counter()
    tables = Tables(folder, asked, header)
    tables.open(5.0)
    tables.catch_up()
    tables.close()
    return written, time.perf_counter() - began


def append(folder: Path, trials: int) -> None:
    """Append trials like a driver, with tables, until terminated; runs in a process of its own."""
    header = read_header(folder)
    asked = experiment(trials)
    tables = Tables(folder, asked, header)
    with Ledger.open(folder) as ledger:
        tables.open(5.0)
        tables.catch_up()
        print("ready", flush=True)
        running: list[Iterator[Record]] = []
        # A folder that is used again also holds the trials of the last run.
        for number in itertools.count(valid_parts(folder)[-1].highest + 1):
            running.append(records_of(number, asked.space))
            while len(running) >= PER_S:
                for trial in list(running):
                    record = next(trial, None)
                    if record is None:
                        running.remove(trial)
                    else:
                        ledger.append(record)
                        time.sleep(1 / PER_S)
                tables.settle()


# --- timing -----------------------------------------------------------------------------------


def timed(*arguments: str) -> tuple[list[float], list[float]]:
    """Seconds of wall time and of processor time of each run except the first, which compiles the modules."""
    found, processor = [], []
    command = [sys.executable, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(RUNS + 1):
        began, before = time.perf_counter(), _children_s()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        found.append(time.perf_counter() - began)
        processor.append(_children_s() - before)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return found[1:], processor[1:]


def _children_s() -> float:
    """Processor time of processes that were waited for; the process that appends is not one of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pandas_s(folder: Path) -> float:
    """Seconds that pandas takes to read the record and rank its completed trials."""
    code = (
        "import pandas as pd, sys\n"
        "lines = pd.read_json(sys.argv[1], lines=True)\n"
        "ended = lines[(lines.kind == 'ended') & (lines.outcome == 'completed')]\n"
        "print(ended.sort_values('value', ascending=False).head(10)[['trial', 'value']])\n"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(folder / LEDGER)], check=True, capture_output=True)
    return time.perf_counter() - began


def optuna_s(folder: Path, trials: int) -> tuple[float, float]:
    """Seconds of `study.best_trial` and `trials_dataframe` of a study in SQLite, as whole processes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(storage=url, study_name="s", direction="maximize")
    space = Space.parse(SPACE)
    for number in range(trials):
        reports = [r for r in records_of(number, space) if isinstance(r, ReportRecord)]
        study.add_trial(
            optuna.trial.create_trial(
                value=reports[-1].objective,
                intermediate_values={int(r.epoch): r.metrics["dice"] or 0.0 for r in reports},
                params={"learning_rate": 10 ** -(2 + 2 * random.Random(number).random())},
                distributions={"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)},
            )
        )
    found = []
    for asked in ("study.best_trial", "study.trials_dataframe().groupby('state').value.max()"):
        code = f"import optuna\nstudy = optuna.load_study(study_name='s', storage={url!r})\nprint({asked})"
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return found[0], found[1]


def show(name: str, found: list[float], processor: list[float], verdict: str = "") -> None:
    """Print a line of the table."""
    middle, spent = statistics.median(found), statistics.median(processor)
    print(
        f"{name:28s} {middle:7.2f} {min(found):7.2f} {max(found):7.2f} {spent:10.2f}   {verdict}".rstrip(),
        flush=True,
    )


def report(trials: int, storage: Path, *, peers: bool) -> None:
    folder = storage / NAME
    print(f"{os.cpu_count()} cores; load of the machine: {os.getloadavg()[0]:.2f} before")
    if not folder.exists():
        wrote, compacted = generate(folder, trials)
        each = 1000 * compacted / trials
        print(f"record written in {wrote:.0f} s, tables in {compacted:.0f} s ({each:.2f} ms a trial)")
    parts = valid_parts(folder)
    ledger_mb = (folder / LEDGER).stat().st_size / 1e6
    tables_mb = sum(sum(part.files.values()) for part in parts) / 1e6
    print(f"{trials:,} trials: record {ledger_mb:.0f} MB, tables {tables_mb:.0f} MB in {len(parts)} parts")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.hundred_thousand_trials"]
    command += ["--append", str(folder), "--trials", str(trials)]
    writer = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(5)
        heads = ("median", "least", "most")
        print(
            f"{'whole process, s':28s} {' '.join(f'{h:>7s}' for h in heads)}  processor   at most {LIMIT_S:g}"
        )
        for name, code in FLOOR.items():
            show(name, *timed("-c", code))
        for name, arguments in QUESTIONS.items():
            found, processor = timed("-m", "tuning.cli", *arguments, "--storage", str(storage))
            show(name, found, processor, "ok" if statistics.median(found) < LIMIT_S else "TOO LONG")
    finally:
        writer.terminate()
        writer.wait()
    tail = (folder / LEDGER).stat().st_size - valid_parts(folder)[-1].end
    print(f"the record grew meanwhile; {tail / 1e3:.0f} kB of it are after the last part")
    if peers:
        print(f"pandas over the same record, the best ten trials: {pandas_s(folder):.1f} s")
        with tempfile.TemporaryDirectory() as place:
            few = min(trials, 1000)
            best, frame = optuna_s(Path(place), few)
            print(f"Optuna, SQLite, {few:,} trials: best_trial {best:.2f} s, trials_dataframe {frame:.2f} s")
    print(f"load of the machine: {os.getloadavg()[0]:.2f} after")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="kept, and used again; a temporary one when absent")
    parser.add_argument("--peers", action="store_true", help="also pandas and Optuna")
    parser.add_argument("--append", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.append is not None:
        append(given.append, given.trials)
    elif given.folder is not None:
        report(given.trials, given.folder, peers=given.peers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(given.trials, Path(folder), peers=given.peers)


if __name__ == "__main__":
    main()
