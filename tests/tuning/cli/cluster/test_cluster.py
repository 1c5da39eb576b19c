from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tuning.cli.cluster.profile_files import find_profile


def test_profiles_are_listed_with_where_they_come_from(run: Callable[..., Result]) -> None:
    Path("profiles").mkdir()
    Path("profiles/slurm-gpu.yaml").write_text("# ours\nscheduler: slurm\n")
    lines = [line.split(maxsplit=1) for line in run("cluster", "profiles").stdout.splitlines()]
    assert lines[0] == ["slurm-gpu", "ours"]
    assert lines[1] == ["profiles/slurm-gpu.yaml"]
    assert ["ships", "with adaptertune"] in lines
    assert ["ships", "with adaptertune; hidden by the one above"] in lines


def test_with_a_name_it_prints_the_file_as_it_is(run: Callable[..., Result]) -> None:
    assert run("cluster", "profiles", "slurm-gpu").stdout == find_profile("slurm-gpu").read_text()
    Path("latin.yaml").write_bytes("# für uns".encode("latin-1"))
    assert "latin.yaml is not UTF-8 text" in run("cluster", "profiles", "latin.yaml", code=2).stderr
    assert "no profile zzz" in run("cluster", "profiles", "zzz", code=2).stderr
    assert "'nodes' is not" in run("cluster", "nodes", code=2).stderr
