"""What a job asks of a cluster, and what it runs there, as frozen values.

A profile is the part that stays the same from sweep to sweep: one class for each scheduler, with the keys of
its YAML file. A `SweepJob` is the rest: the sweep, and the file that it was submitted with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from cluster.manifests.units import Duration, Memory, parse_duration, parse_memory


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"must be printable text on one line, got {text!r}")
    return text


def _one_word(text: str) -> str:
    if not re.fullmatch(r"[\w.,:/@&|*()\[\]+-]+", text, re.ASCII):
        raise ValueError(f"must be one word without spaces and quotes, got {text!r}")
    return text


def _absolute(text: str) -> str:
    if not _printable(text).startswith("/"):
        raise ValueError(f"must be an absolute path, the same on every node, got '{text}'")
    return text.rstrip("/") or "/"


def _kubernetes_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", text):
        raise ValueError(f"must be a name of Kubernetes (a-z, 0-9, - and .), got '{text}'")
    return text


def _option(text: str) -> str:
    name = _printable(text).partition("=")[0]
    if not re.fullmatch(r"--[a-z][a-z-]+", name):
        raise ValueError(f"must be a long option of sbatch such as --reservation=vision, got '{text}'")
    if name in OWN_OPTIONS:
        raise ValueError(f"{name} is set by the job file; {OWN_OPTIONS[name]}")
    return text


OWN_OPTIONS: Mapping[str, str] = {
    "--nodes": "use the key nodes",
    "--ntasks": "each node runs one Ray",
    "--ntasks-per-node": "each node runs one Ray",
    "--cpus-per-task": "use the key cpus",
    "--gpus-per-node": "use the keys gpus and gpu_type",
    "--mem": "use the key memory",
    "--time": "use the key wall_time",
    "--signal": "use the key stop_before",
    "--array": "a sweep is one driver on all nodes, not one job a trial",
    "--requeue": "a preempted sweep continues by itself",
    "--no-requeue": "a preempted sweep continues by itself",
    "--open-mode": "a requeued job adds to its output",
    "--output": "the output is next to the job file",
    "--error": "the output is next to the job file",
    "--job-name": "use --name of `adaptertune submit`",
    "--partition": "use the key partition",
    "--account": "use the key account",
    "--qos": "use the key qos",
    "--constraint": "use the key constraint",
    "--wrap": "the job file is the script",
}
"""Options of sbatch that a profile cannot give, each with what to do instead."""

Count = Annotated[int, Field(ge=1)]
Word = Annotated[str, AfterValidator(_one_word)]
Line = Annotated[str, AfterValidator(_printable)]
Folder = Annotated[str, AfterValidator(_absolute)]
Label = Annotated[str, AfterValidator(_kubernetes_name)]
Time = Annotated[Duration, PlainValidator(parse_duration)]
Amount = Annotated[Memory, PlainValidator(parse_memory)]


class Machines(BaseModel):
    """The keys that profiles of all schedulers have. CPUs, GPUs and memory are those of each node."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    nodes: Count = 1
    cpus: Count
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_type: Word | None = None
    """The kind of GPU, as the scheduler calls it."""
    storage: Folder | None = None
    """The folder of experiments, which every node sees at this path."""
    cache: Folder | None = None
    """The folder of prepared data, ADAPTERTUNE_CACHE."""

    @model_validator(mode="after")
    def _type_of_some(self) -> Self:
        if self.gpu_type is not None and self.gpus == 0:
            raise ValueError("gpu_type needs gpus: 1 or more")
        return self


class SlurmProfile(Machines):
    """A job of Slurm."""

    scheduler: Literal["slurm"]
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    memory: Amount | None = None
    """The memory of each node; the partition's default when absent."""
    wall_time: Time
    """The time limit of one attempt. The job is put back into the queue before, and continues."""
    stop_before: Time = Duration(300)
    """How long before the time limit the sweep saves its trials and goes back into the queue."""
    environment: Folder | None = None
    """The virtual environment or conda environment; the one that submits when absent."""
    setup: tuple[Line, ...] = ()
    """Shell lines that run before Ray starts; one that fails ends the job."""
    wait_for_nodes: Time = Duration(600)
    """How long the sweep waits for nodes to join; then it begins with those that are there."""
    options: tuple[Annotated[str, AfterValidator(_option)], ...] = ()
    """Further options of sbatch, such as --reservation=vision."""

    @model_validator(mode="after")
    def _stops_in_time(self) -> Self:
        if self.stop_before.seconds < 60:
            raise ValueError(
                "stop_before must be at least 1min: Slurm sends its signal up to a minute late, got"
                f" {self.stop_before}"
            )
        if self.stop_before >= self.wall_time:
            raise ValueError(
                f"stop_before must be shorter than wall_time ({self.wall_time}), got {self.stop_before}"
            )
        return self


class KuberayProfile(Machines):
    """A RayJob of KubeRay."""

    scheduler: Literal["kuberay"]
    storage: Folder
    image: Word
    """The container image, with adaptertune and ray[default]."""
    claim: Label
    """The PersistentVolumeClaim (ReadWriteMany if there are several nodes) that is mounted at `storage`."""
    memory: Amount
    namespace: Label | None = None
    queue: Label | None = None
    """The local queue of Kueue, which then decides when the job starts."""
    node_selector: dict[str, Line] = Field(default_factory=dict)
    gpu_resource: Word = "nvidia.com/gpu"
    """What Kubernetes calls a GPU."""
    attempts: Count = 5
    """How many clusters are tried one after the other; each continues where the last one ended."""
    wall_time: Time | None = None
    """The time limit of the whole job, waiting included."""


class SkypilotProfile(Machines):
    """A task of SkyPilot."""

    scheduler: Literal["skypilot"]
    storage: Folder
    infra: Word | None = None
    """Where, such as aws/us-east-1 or k8s; SkyPilot chooses when absent."""
    memory: Amount | None = None
    """The least memory of each node."""
    image: Word | None = None
    spot: bool = False
    """Whether to use machines that may be taken back."""
    volume: Label | None = None
    """The SkyPilot volume that is mounted at `storage`; when absent, the machines mount it by themselves."""
    setup: tuple[Line, ...] = ()
    """Shell lines that run before Ray starts; one that fails ends the job."""
    wait_for_nodes: Time = Duration(600)
    """How long the sweep waits for nodes to join; then it begins with those that are there."""

    @model_validator(mode="after")
    def _names_its_gpus(self) -> Self:
        if self.gpus and self.gpu_type is None:
            raise ValueError(
                "gpus needs gpu_type, such as gpu_type: L4: SkyPilot asks for GPUs by their type"
            )
        return self


Profile = SlurmProfile | KuberayProfile | SkypilotProfile
PROFILES: Mapping[str, type[SlurmProfile] | type[KuberayProfile] | type[SkypilotProfile]] = {
    "slurm": SlurmProfile,
    "kuberay": KuberayProfile,
    "skypilot": SkypilotProfile,
}
"""The class of a profile by its key `scheduler`."""


def keys_of_profile(scheduler: str) -> list[str]:
    """The keys that a profile of this scheduler may have, `scheduler` first."""
    return ["scheduler", *(name for name in PROFILES[scheduler].model_fields if name != "scheduler")]


@dataclass(frozen=True)
class SweepJob:
    """The sweep that a job runs.

    name: the experiment's.  storage: the folder of experiments, as the nodes see it.
    experiment: the text of its file with absolute paths; None continues an experiment that exists.
    folder: where the job file is, and its output.  programs: the folder of `python`, `ray` and `adaptertune`.
    """

    name: str
    storage: str
    experiment: str | None
    folder: str
    programs: str
