from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from cluster.health.nodes import Seen, first_line, inspect_node, installed_versions, node_errors, node_notes

HERE = Seen("here", "3.11.7", {"torch": "2.13.0", "peft": "0.21.2"}, record="a")
THERE = replace(HERE, node="n1")
FOLDER = Path("/shared/pets")


def test_a_node_like_the_drivers_has_neither_faults_nor_notes() -> None:
    assert node_errors(HERE, [HERE, THERE], FOLDER) == []
    assert node_notes(HERE, [HERE, THERE]) == []


def test_another_patch_of_python_is_no_fault_and_another_minor_version_is() -> None:
    assert node_errors(HERE, [replace(THERE, python="3.11.9")], FOLDER) == []
    (fault,) = node_errors(HERE, [THERE, replace(THERE, python="3.12.1", node="n2")], FOLDER)
    for part in ("n2", "3.12.1", "3.11.7", "install"):
        assert part in fault


def test_an_experiments_folder_that_is_not_there_or_another_one_names_node_and_folder() -> None:
    absent, other = replace(THERE, record=None), replace(THERE, node="n2", record="b")
    first, second = node_errors(HERE, [absent, HERE, other], FOLDER)
    assert "node n1 does not see" in first
    assert "node n2 has another folder" in second
    assert all(str(FOLDER) in fault and "another storage" in fault for fault in (first, second))


def test_other_versions_of_libraries_are_noted_once_a_difference_with_the_nodes() -> None:
    old = {"torch": "2.9.0"}
    nodes = [replace(THERE, node=f"n{i}", versions=old) for i in range(5)]
    assert node_notes(HERE, [HERE, *nodes]) == [
        "torch 2.9.0 instead of 2.13.0 on n0, n1, n2 and 2 more; metrics may differ between nodes",
        "peft none instead of 0.21.2 on n0, n1, n2 and 2 more; metrics may differ between nodes",
    ]


def test_what_a_node_looks_at(tmp_path: Path) -> None:
    record = tmp_path / "ledger.jsonl"
    assert first_line(record) is None
    record.write_text("the experiment\n")
    before = first_line(record)
    with record.open("a") as file:
        file.write("a report\n")
    seen = Seen(**inspect_node(record))
    assert seen.record == before is not None
    assert seen.python == platform.python_version()
    assert seen.versions == installed_versions()
    assert {"ray", "torch", "peft"} <= seen.versions.keys()
