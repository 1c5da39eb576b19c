"""Trials packed on one GPU, against the same trials one by one, compiled, and in processes that share it.

    python -m benchmarks.gpu --out gpu.json
    python -m benchmarks.gpu --device cpu --small --out gpu.json

Three sections, each a process of its own, so that an error of the device in one does not end the others: a
ViT-B/16 with LoRA and the segmentation head, YOLOS-Small with LoRA, and heads alone from cached features.
Models are made from their configs with seeded random weights; images are random and lie on the device before
the clock starts. First the losses of packed steps in fp32 are compared with those of transformers and peft
alone; what differs is not timed. Then every row takes its turn, again and again. A row's time is the median
over its turns, of wall time with the device waited for. A row that fails says why, and the others go on. With
the default limit it ends within 8 minutes.

Of the packages that adaptertune needs, only these must be there: torch, transformers (5.20 or newer) and peft
(0.20 or newer) with what they bring along, pydantic, pyarrow, scipy, pillow, filelock.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"segmentation": 0.57, "detection": 0.31, "head_only": 0.12}
"""Each section's share of the time."""
GRACE_S = 10.0
"""How long a section may take to end after its limit, start-up aside."""


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    import peft
    import torch
    import transformers

    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    if device.startswith("cuda"):
        found["device"] = torch.cuda.get_device_name(device)
        found["memory_mb"] = torch.cuda.get_device_properties(device).total_memory // 2**20
        found["cuda"] = torch.version.cuda
        found["driver"] = _driver()
    return found


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=driver_version,utilization.gpu,memory.used", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def run_section(name: str, given: argparse.Namespace, out: Path) -> None:
    """Measure one section in this process; `out` holds what was found so far."""
    import torch
    from transformers.utils import logging

    from benchmarks.on_gpu.sections import SECTIONS, Options, Section

    logging.disable_progress_bar()
    if given.device == "cpu":
        torch.set_num_threads(1)
    out.write_text(json.dumps({"machine": machine(given.device)}), encoding="utf-8")
    options = Options(
        torch.device(given.device),
        given.small,
        given.turns,
        given.limit * SHARES[name],
        given.processes,
        given.compiled,
    )
    about = machine(given.device)

    def report(section: Section) -> None:
        whole = {"machine": about, "title": section.name, **section.as_json()}
        out.with_suffix(".new").write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")
        out.with_suffix(".new").replace(out)

    with tempfile.TemporaryDirectory() as folder:
        SECTIONS[name](Path(folder), options, report)


def run_all(given: argparse.Namespace) -> dict[str, Any]:
    """Run each section in a process of its own, and write their results after each."""
    found: dict[str, Any] = {"sections": {}}
    for name in given.sections:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "section.json"
            ended = _in_process(name, given, out)
            section = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        found.setdefault("machine", section.pop("machine", None))
        section.pop("machine", None)
        found["sections"][name] = {"ended": ended, **section}
        if given.out is not None:
            given.out.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    return found


def _in_process(name: str, given: argparse.Namespace, out: Path) -> str:
    """How the process of a section ended."""
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--section", name, "--out", str(out)),
        *("--device", given.device, "--turns", str(given.turns), "--limit", str(given.limit)),
        *("--processes", str(given.processes), *(["--small"] if given.small else [])),
        "--compiled" if given.compiled else "--no-compiled",
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(timeout=given.limit * SHARES[name] + GRACE_S + 20)
    except subprocess.TimeoutExpired:
        return f"stopped after {time.monotonic() - started:.0f} s, its limit"
    finally:
        # Its own group: the processes that share the device, and those in which torch compiles.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "complete" if code == 0 else f"failed with exit code {code}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=None, help="cuda or cpu; cuda by default if there is one")
    parser.add_argument("--small", action="store_true", help="tiny models: whether the benchmark works")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument(
        "--limit", type=float, default=380.0, help="seconds for all sections; start-up comes on top"
    )
    parser.add_argument("--turns", type=int, default=5, help="how often each row is timed")
    parser.add_argument(
        "--processes", type=int, default=4, help="that share the device; 0 leaves that row out"
    )
    parser.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, default=True, help="also measure `torch.compile`"
    )
    parser.add_argument("--sections", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--section", choices=list(SHARES), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.turns < 1 or given.limit <= 0 or given.processes < 0:
        parser.error("--turns and --limit must be positive, --processes must not be negative")
    if given.device is None or given.device.startswith("cuda"):
        import torch

        if given.device is None:
            given.device = "cuda" if torch.cuda.is_available() else "cpu"
        elif not torch.cuda.is_available():
            parser.error(
                "--device cuda: torch finds no GPU here; use --device cpu --small to try the benchmark"
            )
    if given.device == "cpu" and not given.small:
        parser.error("--device cpu needs --small: at their true size the models take hours on a CPU")
    if given.section is not None:
        run_section(given.section, given, given.out)
        return 0
    found = run_all(given)
    print(f"\n{json.dumps(found['machine'])}")
    for name, section in found["sections"].items():
        print(f"{name}: {section['ended']}")
        for verdict in section.get("targets", []):
            print(f"  {verdict}")
    return 0 if all(section["ended"] == "complete" for section in found["sections"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
