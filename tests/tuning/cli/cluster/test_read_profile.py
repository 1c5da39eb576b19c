from __future__ import annotations

from pathlib import Path

import pytest
from jobs import slurm

from cluster.manifests.spec import SlurmProfile
from trainables.errors import ExperimentFileError
from tuning.cli.cluster.read_profile import read_profile

VALID = """\
# two nodes
scheduler: slurm
nodes: 2
cpus: 4
wall_time: 1h
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def errors(folder: Path, text: str) -> list[str]:
    """The lines of the message after the first one, which names the file and counts the errors."""
    file = written(folder, text)
    with pytest.raises(ExperimentFileError) as caught:
        read_profile(file)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{file}: {len(lines)} error")
    return [" ".join(line.split()) for line in lines]


def test_a_profile_is_read(tmp_path: Path) -> None:
    assert read_profile(written(tmp_path, VALID)) == slurm()
    assert isinstance(read_profile(written(tmp_path, VALID)), SlurmProfile)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (VALID + "node: 3\n", ["line 6 node unknown key; did you mean 'nodes'?"]),
        (VALID + "image: x\n", ["line 6 image is a key of kuberay and skypilot, not of slurm; remove it"]),
        (VALID + "claim: x\n", ["line 6 claim is a key of kuberay, not of slurm; remove it"]),
        (VALID.replace("nodes: 2", "nodes: '2'"), [
            "line 3 nodes must be a whole number, got '2'; remove the quotes",
        ]),
        (VALID.replace("nodes: 2", "nodes: 0"), ["line 3 nodes must be at least 1, got 0"]),
        (VALID.replace("1h", "4"), [
            "line 5 wall_time must be a length of time with the units d, h, min and s, such as 4h, 90min or"
            " 1d 12h, got 4",
        ]),
        (VALID + "memory: 64GB\nsetup: module load cuda\n", [
            "line 6 memory must be a whole number with the unit MiB, GiB or TiB, such as 64GiB, got '64GB'",
            "line 7 setup must be a list, got 'module load cuda'",
        ]),
        (VALID + "setup: [a, 3]\n", ["line 6 setup[1] must be text, got 3; quote it: '3'"]),
        (VALID + "options:\n  - --exclusive\n  - --nodes=3\n", [
            "line 8 options[1] --nodes is set by the job file; use the key nodes",
        ]),
        (VALID + "stop_before: 1h\n", ["line 2 stop_before must be shorter than wall_time (1h), got 1h"]),
        (VALID + "nodes: 3\n", ["line 6 nodes is given twice, first on line 3; remove one"]),
        (VALID.replace("scheduler: slurm\n", ""), ["line 2 scheduler must be slurm, kuberay or skypilot"]),
        (VALID.replace("slurm", "slrum"), [
            "line 2 scheduler must be slurm, kuberay or skypilot, got 'slrum'; did you mean 'slurm'?",
        ]),
        ("scheduler: slurm\n", ["line 1 cpus is missing; add it", "line 1 wall_time is missing; add it"]),
        ("", ["line 1 must be a mapping with keys such as scheduler, nodes and cpus, got nothing"]),
        ("- a\n", ["line 1 must be a mapping with keys such as scheduler, nodes and cpus, got [\"a\"]"]),
        ("a: [1\n", [
            "line 1 is not valid YAML: the '[' opened here is not closed, or a comma is missing inside it",
        ]),
    ],
)  # fmt: skip
def test_all_errors_are_said_with_line_and_key(text: str, said: list[str], tmp_path: Path) -> None:
    assert errors(tmp_path, text) == said


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExperimentFileError, match="cannot be read: No such file"):
        read_profile(tmp_path / "absent.yaml")
    (tmp_path / "mine.yaml").write_bytes(b"scheduler: \xff\n")
    with pytest.raises(ExperimentFileError, match="is not UTF-8 text"):
        read_profile(tmp_path / "mine.yaml")
