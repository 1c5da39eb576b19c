from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from cluster_findings import GPUS, HEALTHY_STORAGE, STORAGE, cluster_of, healthy_node

from cluster.health.checks import ClusterFindings, Wanted
from cluster.health.clock import ClockOffset
from cluster.health.gpus import GpuFindings
from cluster.health.report import find_problems
from cluster.health.required_files import Contents, HubModel, Weights
from tuning.cli.cluster.check_answer import answer_json, print_report
from tuning.formatting import json_text


def printed(
    found: ClusterFindings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int = 100,
) -> str:
    """The report on a terminal of this width."""
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    print_report(found, find_problems(found), joined=True)
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # without our own colours


def test_a_cluster_with_gpus_has_a_row_for_each_node_in_100_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {"model.name": "/models/vit"}
    wanted = Wanted(STORAGE, paths)
    nodes = [replace(healthy_node(n), files={"model.name": Contents(True, 4)}) for n in range(1, 201)]
    found = replace(cluster_of(*nodes, wanted=wanted), here_files={"model.name": Contents(True, 4)})
    lines = printed(found, capsys, monkeypatch).splitlines()
    rows = [line for line in lines if line.startswith(" n")][1:]
    assert [row.split()[0] for row in rows] == [f"n{n}" for n in range(1, 201)]
    assert max(map(len, lines)) <= 100
    assert " ".join(rows[0].split()) == (
        "n1 2, 281 GiB 13.0, 580 equal 3.2 ms there 0 s 30 GiB open 65,536 ok"
    )
    assert lines[-1] == "no problems"


def test_without_gpus_and_data_there_are_no_columns_for_them_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = replace(healthy_node(), gpus=0.0, gpu_findings=GpuFindings(torch_cuda="13.0"))
    lines = printed(cluster_of(node), capsys, monkeypatch, width=80).splitlines()
    assert " ".join(lines[2].split()) == ("node versions storage clock shm ports files result")
    assert max(map(len, lines)) <= 80


def test_what_is_wrong_is_in_its_cell_and_below_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(healthy_node(2), storage=replace(HEALTHY_STORAGE, shared=False))
    late = replace(healthy_node(3), clock=ClockOffset(-61.0, 0.01))
    silent = replace(healthy_node(4), error="no answer within 60 s", seen=None, storage=None, machine=None)
    text = printed(cluster_of(healthy_node(), other, late, silent), capsys, monkeypatch, width=120)
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith(" n")}
    assert rows["n1"].split()[-1] == "ok"
    assert "other" in rows["n2"]
    assert rows["n2"].split()[-1] == "error"
    assert "-61.0 s" in rows["n3"]
    assert rows["n3"].split()[-1] == "warning"
    assert rows["n4"].split()[-2:] == ["no", "answer"]
    said = text.splitlines()
    at = said.index("error: n4 (10.0.0.4): gives no answer within 60 s")
    assert "firewall" in said[at + 1]
    assert said[-1] == "2 errors, 1 warning"
    assert text.index("error: n2") < text.index("warning: n3")


def test_one_problem_of_200_nodes_is_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [replace(healthy_node(n), clock=ClockOffset(10.0 + n, 0.01)) for n in range(1, 201)]
    text = printed(cluster_of(*ahead), capsys, monkeypatch)
    (first,) = [line for line in text.splitlines() if line.startswith("warning:")]
    assert first == "warning: n1 (10.0.0.1), n2 (10.0.0.2), n3 (10.0.0.3) and 197 more:"
    assert "has a clock 13.0 s ahead of the driver's; and 197 more of this kind" in text
    assert text.count("chrony") == 1
    assert text.splitlines()[-1] == "no errors, 200 warnings"


def test_a_node_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\x1b]0;title\x07\x1b[2J"
    node = replace(
        healthy_node(),
        node=f"n{evil} (10.0.0.1)",
        gpu_findings=replace(GPUS, driver=f"580{evil}.1", error=f"CUDA: {evil}"),
        storage=replace(HEALTHY_STORAGE, error=evil),
    )
    text = printed(cluster_of(node, healthy_node(2)), capsys, monkeypatch)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "␛" in text


KEYS = {
    "": ["joined", "storage", "experiment", "errors", "warnings", "nodes", "problems"],
    "node": ["node", "id", "answers", "result", "python", "versions", "ray", "machine", "gpus",
             "storage", "data",
             "weights", "object_store", "clock", "closed_ports", "unanswered"],
    "storage": ["error", "shared", "kind", "write_ms", "read_ms", "free_bytes", "free_files", "claims", "won",
                "renames", "links", "locks", "seen"],
    "gpus": ["gpus", "driver", "device_files", "tool", "error", "torch_cuda", "torch_other"],
    "machine": ["cpus", "memory", "memory_free", "shared_memory", "shared_memory_free", "open_files",
                "temporary",
                "temporary_free", "temporary_error", "exposed_token"],
    "problem": ["severity", "check", "node", "text", "remedy"],
}  # fmt: skip
"""Programs read them, so they stay."""


def test_the_keys_of_the_json_document() -> None:
    wanted = Wanted(STORAGE, {"model.name": "/m"}, model=HubModel("a/b"))
    node = replace(
        healthy_node(), clock=ClockOffset(9.0, 0.1), files={"model.name": "gone"}, weights=Weights(True)
    )
    found = cluster_of(node, replace(healthy_node(2), error="no answer within 60 s"), wanted=wanted)
    document = json.loads(json_text(answer_json(found, find_problems(found), "pets", joined=True)))
    assert list(document) == KEYS[""]
    first, second = document["nodes"]
    assert list(first) == list(second) == KEYS["node"]
    for part in ("storage", "gpus", "machine"):
        assert list(first[part]) == KEYS[part]
    assert all(list(problem) == KEYS["problem"] for problem in document["problems"])
    assert (first["answers"], second["answers"]) == (True, False)
    assert (first["result"], second["result"]) == ("warning", "error")
    assert (document["errors"], document["warnings"]) == (1, 1)
    assert first["data"] == {"model.name": {"error": "gone"}}
    assert first["clock"] == {"offset_s": 9.0, "error_s": 0.1}
