"""How long a worker takes from the start of its process to the end of its first optimizer step.

    python -m benchmarks.worker_start [--against DIR] [--against-python PATH] [--rounds 7]

Each run is a fresh Python process that does what the process that trains does for its first trial: it imports
the trainable that the driver names and all that it needs, loads the backbone and the prepared data, builds a
LoRA model and takes one step. Where workers are copies of one process (`cluster/forked`), that is the first
of them, and the others need only what comes after the imports; elsewhere it is a worker of Ray, and imports
Ray, too. The data are prepared before. With --against, this checkout and the other one take turns (A B A B),
so that a busy machine slows both alike. For each task it prints the medians of wall time, of processor time,
of that after the imports, the number of imported modules, and the ratio of this checkout to the other one.

A process has one thread, as a trial has, and may write byte code, so that only the first round, which is
not counted, compiles the sources.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.against import compared, parser_of

EXPERIMENTS = {
    "segmentation": """
name: worker-start
task: segmentation
model: {name: embedded}
data: {embedded: {domain: inverted, train: 32, validation: 16, test: 1}}
objective: {metric: dice}
trial: {adapter: lora, epochs: 1, batch_size: 8}
space: {learning_rate: {float: [1e-3, 1e-2], log: true}}
search: {random: {}, trials: 1}
""",
    "detection": """
name: worker-start
task: detection
model: {name: embedded}
data: {embedded: {domain: inverted, train: 32, validation: 16, test: 1}}
objective: {metric: map}
trial: {adapter: lora, epochs: 1, batch_size: 8}
space: {learning_rate: {float: [1e-3, 1e-2], log: true}}
search: {random: {}, trials: 1}
""",
}
PREPARE = """
import json, sys
from pathlib import Path
from tuning.experiment.load import load_experiment
from trainables.preparation import prepare_workload

try:
    from tuning.run.early_imports import FOR_TRIALS as preload
except ModuleNotFoundError:  # a checkout that preloads nothing
    preload = []
try:
    from cluster.forked.start import can_fork

    forked = can_fork()
except ModuleNotFoundError:  # a checkout whose workers of Ray train
    forked = False
experiment = load_experiment(Path(sys.argv[1]))
print(json.dumps({
    "workload": experiment.workload.model_dump_json(),
    "prepared": str(prepare_workload(experiment.workload)),
    "config": experiment.trial_config({"learning_rate": 0.002}).model_dump_json(),
    "preload": preload[1:] if forked else preload,
    "ray": not forked,
}))
"""
# Ray's worker process imports Ray and the modules to preload, if there are any, then unpickles the trainable
# of `cluster.ray_worker`, which imports the real one by its name. The fork server imports no Ray.
WORKER = """
import json, sys
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

job = json.loads(sys.argv[1])
if job["ray"]:
    import ray
if job["preload"]:
    from cluster.preloading import import_modules

    import_modules(job["preload"])
if job["ray"]:
    import_module("cluster.ray_worker")
resolve_name("trainables.workers.ray_trainable:AdapterTrainable")

import time

import torch
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine

imported = time.process_time()
torch.set_num_threads(1)
engine = Engine(Workload.model_validate_json(job["workload"]), Path(job["prepared"]), device="cpu")
state = engine.start(TrialConfig.model_validate_json(job["config"]))
for _ in engine.advance([state], steps=1):
    pass
assert state.step == 1

cpu = time.process_time()
print(json.dumps({"ended": time.time(), "cpu": cpu, "after": cpu - imported, "modules": len(sys.modules)}))
"""


@dataclass(frozen=True)
class Run:
    """One process: its wall and processor seconds, and the modules that it imported.

    after_s: processor seconds from the end of the imports to the first step.
    """

    wall_s: float
    cpu_s: float
    after_s: float
    modules: int


@dataclass
class Checkout:
    """A checkout with its interpreter, the jobs on its prepared data, and the runs of each task."""

    folder: Path
    python: Path
    jobs: dict[str, str] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def prepare(self, scratch: Path) -> None:
        """Prepare the data of each task."""
        for task, text in EXPERIMENTS.items():
            file = scratch / f"{task}.yaml"
            file.write_text(text, encoding="utf-8")
            self.jobs[task] = self._python(PREPARE, str(file), cache=scratch / "cache").splitlines()[-1]

    def start(self, task: str) -> None:
        """Run a worker to the end of its first step."""
        began = time.time()
        done = json.loads(self._python(WORKER, self.jobs[task]).splitlines()[-1])
        self.runs.setdefault(task, []).append(
            Run(done["ended"] - began, done["cpu"], done["after"], done["modules"])
        )

    def median(self, task: str) -> Run:
        """The medians of a task's runs."""
        runs = self.runs[task]
        return Run(
            statistics.median(r.wall_s for r in runs),
            statistics.median(r.cpu_s for r in runs),
            statistics.median(r.after_s for r in runs),
            round(statistics.median(r.modules for r in runs)),
        )

    def _python(self, code: str, argument: str, cache: Path | None = None) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPATH": str(self.folder), "HF_HUB_OFFLINE": "1"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        if cache is not None:
            environment["ADAPTERTUNE_CACHE"] = str(cache)
        command = [str(self.python), "-P", "-c", code, argument]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"a worker of {self.folder} failed:\n{done.stderr[-4000:]}")
        return done.stdout


def measure(checkouts: list[Checkout], rounds: int) -> None:
    """Start a worker of every task in every checkout, `rounds` times after one that warms the caches."""
    with tempfile.TemporaryDirectory() as folder:
        for place, checkout in enumerate(checkouts):
            scratch = Path(folder) / str(place)
            scratch.mkdir()
            checkout.prepare(scratch)
        for turn in range(rounds + 1):
            for task in EXPERIMENTS:
                # The two checkouts alternate in being first.
                for checkout in checkouts if turn % 2 else checkouts[::-1]:
                    checkout.start(task)
            if turn == 0:
                for checkout in checkouts:
                    checkout.runs.clear()


def print_runs(checkouts: list[Checkout]) -> None:
    """Print a line for each task and checkout."""
    print(f"{'task':<14}{'checkout':<10}{'wall s':>8}{'cpu s':>8}{'after imports':>15}{'modules':>9}")
    for task in EXPERIMENTS:
        medians = [checkout.median(task) for checkout in checkouts]
        for name, run in zip(("this", "other"), medians, strict=False):
            print(
                f"{task:<14}{name:<10}{run.wall_s:>8.2f}{run.cpu_s:>8.2f}{run.after_s:>15.2f}{run.modules:>9}"
            )
        if len(medians) == 2:
            ours, other = medians
            print(
                f"{task:<14}{'ratio':<10}{ours.wall_s / other.wall_s:>8.2f}{ours.cpu_s / other.cpu_s:>8.2f}"
                f"{ours.after_s / other.after_s:>15.2f}"
                f"{ours.modules / other.modules:>9.2f}"
            )


def main() -> None:
    parser = parser_of(__doc__, rounds=7)
    given = parser.parse_args()
    checkouts = [Checkout(*each) for each in compared(given)]
    before = os.getloadavg()[0]
    measure(checkouts, given.rounds)
    print_runs(checkouts)
    load = f"{before:.2f} before, {os.getloadavg()[0]:.2f} after"
    print(f"{os.cpu_count()} cores; medians of {given.rounds} rounds; load of the machine: {load}")


if __name__ == "__main__":
    main()
