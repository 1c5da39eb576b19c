"""What is wrong with the GPUs of a node."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.health.checks import NodeFindings
from cluster.health.gpus import GpuFindings, driver_number, oldest_driver
from cluster.health.problem import Problem, Severity, size_text

BUSY_FROM_MIB = 1024
"""Used memory that is more than the driver's own, for GPUs whose processes are hidden, as in containers."""
_REMEDIES = {
    "cuInit fails with 802": "start the fabric manager there: `systemctl start nvidia-fabricmanager`",
    "cuInit fails with 803": "the driver was updated while it was in use: restart the machine",
    "cuInit fails with 804": "update the driver there, or remove CUDA's compatibility package (cuda-compat)",
    "libcuda.so.1": "install NVIDIA's driver there; in a container, start it with `--gpus all`",
    "version mismatch": "the driver was updated while it was in use: restart the machine",
}


def gpu_problems(node: NodeFindings) -> Iterator[Problem]:
    """The problems of a node that has answered."""
    found = node.gpu_findings
    if found is None:
        return
    yield from _counts(node, found)
    if found.error and (node.gpus or found.gpus):
        remedy = next(
            (remedy for said, remedy in _REMEDIES.items() if said in found.error),
            "run `nvidia-smi` there; restart the machine if it fails, too",
        )
        yield Problem(Severity.ERROR, "gpus", node.node, f"cannot use its GPUs: {found.error}", remedy)
    if node.gpus and found.gpus:
        yield from _torch(node, found)
    for number, gpu in enumerate(found.gpus):
        if gpu.processes or gpu.used_mib >= BUSY_FROM_MIB:
            count = len(gpu.processes)
            by = f" by {count} process{'es' * (count > 1)}" if count else ""
            yield Problem(
                Severity.WARNING,
                "gpus",
                node.node,
                f"has a GPU in use{by}: {size_text(gpu.used_mib * 2**20)} of"
                f" {size_text(gpu.total_mib * 2**20)} of GPU {number} ({gpu.name})",
                "if this is no sweep of the same cluster, wait for it to end, or start Ray there without"
                " that GPU (CUDA_VISIBLE_DEVICES)",
            )


def _counts(node: NodeFindings, found: GpuFindings) -> Iterator[Problem]:
    there = len(found.gpus)
    if found.tool and not found.error and node.gpus > there:
        yield Problem(
            Severity.ERROR,
            "gpus",
            node.node,
            f"offers {node.gpus:g} GPUs to Ray, and has {there}",
            f"start Ray there with `--num-gpus {there}`",
        )
    elif node.gpus < there:
        yield Problem(
            Severity.WARNING,
            "gpus",
            node.node,
            f"offers {node.gpus:g} of its {there} GPUs to Ray",
            f"start Ray there with `--num-gpus {there}`, unless the others are for somebody else",
        )
    elif node.gpus and not found.tool:
        seen = (
            f"{found.device_files} by its device files" if found.device_files else "none by its device files"
        )
        yield Problem(
            Severity.WARNING if found.device_files else Severity.ERROR,
            "gpus",
            node.node,
            f"offers {node.gpus:g} GPUs to Ray, but has no nvidia-smi, and {seen}; free memory and driver"
            " are not checked",
            "for GPUs of NVIDIA, install the driver with its tools; in a container, start it with `--gpus"
            " all`",
        )


def _torch(node: NodeFindings, found: GpuFindings) -> Iterator[Problem]:
    installed = node.seen is not None and "torch" in node.seen.versions
    if found.torch_cuda is None:
        if installed and not found.torch_other:
            yield Problem(
                Severity.ERROR,
                "cuda",
                node.node,
                "has a torch that was built without CUDA, so its GPUs stay unused",
                "install a torch with CUDA there (https://pytorch.org/get-started/locally)",
            )
        return
    needed, has = oldest_driver(found.torch_cuda), driver_number(found.driver)
    if needed is not None and has is not None and has < needed:
        oldest = f"{needed[0]}.{needed[1]}"
        yield Problem(
            Severity.ERROR,
            "cuda",
            node.node,
            f"has the driver {found.driver}, which is too old for CUDA {found.torch_cuda}, for which its"
            f" torch was built: that needs {oldest} or later",
            f"update NVIDIA's driver there to {oldest} or later, or install a torch for an older CUDA on"
            " all nodes",
        )
