"""A sweep of ten thousand scripted trials on a cluster of two hundred nodes with 64 slots, on one machine.

    python -m benchmarks.many_nodes [--nodes 200] [--slots 64] [--trials 10000] [--metrics 100]

Each node is a raylet of its own; the first `--slots` of them have one CPU, the others none. They share one
agent for environments, as two Python processes for each of 200 nodes would take 25 GB. Trials replay curves
(`benchmarks.curves`), without torch. Checks that each trial ended once, and that as many ran at once as there
are slots. Prints the driver's memory beyond that at its tenth trial, and its time per trial. The machine's
cores are shared by all nodes, so the time is no more than an upper bound of what a driver needs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.driver_memory import EMPTY, curve_with, resident_mb

AGENTS = {"dashboard/agent.py": "dashboard", "runtime_env/agent/main.py": "environments"}
STAND_IN = """
kind=$1 session=$2 node=$3 port=$4
write() { printf %s "$2" > "$session/.$1_$node" && mv "$session/.$1_$node" "$session/$1_$node"; }
if [ "$kind" = dashboard ]; then
    for each in metrics_agent_port metrics_export_port dashboard_agent_listen_port; do write $each -1; done
else
    write runtime_env_agent_port "$port"
fi
exec sleep 1000000
"""
"""In place of a node's agents: says that it has no dashboard, and that environments are another's task."""
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    # Each node reports ten times a second otherwise: more than two cores can take from 200.
    "RAY_raylet_report_resources_period_milliseconds": "2000",
    "RAY_health_check_failure_threshold": "60",
    # The driver asks every node about its files at once, so 200 workers start together.
    "RAY_worker_register_timeout_seconds": "1800",
}


@contextmanager
def cluster(nodes: int, slots: int, folder: Path) -> Iterator[str]:
    """A cluster on this machine; its address. Its processes end with the block."""
    from ray._private import services  # private; checked with Ray 2.60
    from ray._private.node import Node
    from ray.cluster_utils import Cluster

    for name in ("start_monitor", "start_log_monitor", "start_api_server"):
        setattr(Node, name, lambda *args, **options: None)
    script = folder / "agent.sh"
    script.write_text(STAND_IN)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    head = started.head_node
    port = head.runtime_env_agent_address.rpartition(":")[2]

    def command_line(command: Sequence[str]) -> str:
        kind = next((AGENTS[end] for end in AGENTS if any(str(each).endswith(end) for each in command)), None)
        if kind is None:
            return subprocess.list2cmdline(command)
        node = next(str(each) for each in command if str(each).startswith("--node-id="))
        session = head.get_session_dir_path()
        return subprocess.list2cmdline(
            ["/bin/sh", str(script), kind, session, node[len("--node-id=") :], port]
        )

    services.subprocess = SimpleNamespace(**(vars(subprocess) | {"list2cmdline": command_line}))
    try:
        for number in range(nodes - 1):
            started.add_node(
                wait=False,
                num_cpus=int(number < slots),
                include_dashboard=False,
                object_store_memory=80 * 2**20,
            )
        yield str(started.address)
    finally:
        services.subprocess = subprocess
        started.shutdown()


def sweep(address: str, given: argparse.Namespace, folder: Path) -> None:
    """Run the sweep on the cluster, and print what was seen. Raises SystemExit if something is amiss."""
    from tuning.experiment.load import load_experiment
    from tuning.ledger.records import EndedRecord, StartedRecord
    from tuning.run.launch import launch_experiment

    nodes, slots, trials = given.nodes, given.slots, given.trials
    file = Path(__file__).with_name("ten_thousand_trials.yaml")
    experiment = load_experiment(file, [f"search.trials={trials}", f"resources.concurrent={slots}"])
    running: set[int] = set()
    ends: list[float] = []
    memory: list[float] = []
    most = 0

    def on_event(record: Any) -> None:
        nonlocal most
        if isinstance(record, StartedRecord):
            running.add(record.trial)
            most = max(most, len(running))
        elif isinstance(record, EndedRecord):
            running.discard(record.trial)
            ends.append(time.perf_counter())
            if len(ends) in (EMPTY, trials):
                memory.append(resident_mb())
            if len(ends) % 1000 == 0:
                print(f"{len(ends):6d} trials", file=sys.stderr, flush=True)

    done = launch_experiment(
        experiment,
        folder,
        trainable=curve_with(given.metrics),
        prepare=lambda _: folder / "data",
        on_event=on_event,
        address=address,
    )
    outcomes = [trial.outcome for trial in done.history.trials.values()]
    if len(outcomes) != trials or None in outcomes or len(ends) != trials:
        raise SystemExit(f"{len(outcomes)} trials, {len(ends)} ends, {outcomes.count(None)} without an end")
    if most != slots:
        raise SystemExit(f"at most {most} trials ran at once, on {slots} slots")
    each_ms = 1000 * (ends[-1] - ends[0]) / (trials - 1)
    print(
        f"{nodes} nodes, {most} trials at once, {trials} trials, {given.metrics} metrics a report:"
        f" {each_ms:.1f} ms each,"
        f" driver's memory {memory[-1] - memory[0]:.0f} MB beyond {memory[0]:.0f} MB at trial {EMPTY}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=100, help="metrics of each report, at least 3")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.address is not None:
            sweep(given.address, given, folder)
            return
        began = time.perf_counter()
        with cluster(given.nodes, given.slots, folder) as address:
            print(f"{given.nodes} nodes after {time.perf_counter() - began:.0f} s", file=sys.stderr)
            names = ("nodes", "slots", "trials", "metrics")
            options = [each for name in names for each in (f"--{name}", getattr(given, name))]
            # In a process of its own, whose memory is that of a driver.
            command = [
                sys.executable,
                "-m",
                "benchmarks.many_nodes",
                "--address",
                address,
                *map(str, options),
            ]
            raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
