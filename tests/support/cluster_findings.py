"""What the nodes of a healthy cluster find, for tests that put one fault in."""

from __future__ import annotations

from pathlib import Path

from cluster.health.checks import ClusterFindings, NodeFindings, Wanted
from cluster.health.clock import ClockOffset
from cluster.health.gpus import Gpu, GpuFindings
from cluster.health.machine import Machine
from cluster.health.nodes import Seen
from cluster.health.storage import Locks, StorageFindings

STORAGE = Path("/shared/experiments")
VERSIONS = {"ray": "2.60.0", "torch": "2.13.0", "transformers": "5.24.0", "peft": "0.21.2", "optuna": "5.0.0",
            "numpy": "2.4.0", "pyarrow": "23.0.0"}  # fmt: skip
HERE = Seen("", "3.11.7", VERSIONS)
GIB = 2**30
MACHINE = Machine(8, 64 * GIB, 60 * GIB, 32 * GIB, 30 * GIB, (65536, 1048576), "/tmp", 100 * GIB)
HEALTHY_STORAGE = StorageFindings(
    shared=True, kind="nfs4", write_ms=3.2, read_ms=0.4, free_bytes=900 * GIB, free_files=10**7, claims=True,
    won=False, renames=True, links=True, locks=Locks.CROSS, seen=True,
)  # fmt: skip
H200 = Gpu("NVIDIA H200", 143771, 4)
GPUS = GpuFindings((H200, H200), "580.95.05", 2, tool=True, torch_cuda="13.0")


def healthy_node(number: int = 1) -> NodeFindings:
    """A node with two GPUs."""
    name = f"n{number} (10.0.0.{number})"
    return NodeFindings(
        id=f"{number:04x}",
        node=name,
        cpus=8,
        gpus=2,
        object_store=10 * GIB,
        seen=Seen(name, "3.11.7", VERSIONS),
        clock=ClockOffset(0.001, 0.002),
        machine=MACHINE,
        gpu_findings=GPUS,
        unreachable=(),
        storage=HEALTHY_STORAGE,
    )


def cluster_of(*nodes: NodeFindings, wanted: Wanted | None = None) -> ClusterFindings:
    """A cluster with these nodes, whose driver has found nothing wrong."""
    return ClusterFindings(wanted or Wanted(STORAGE), HERE, nodes)
