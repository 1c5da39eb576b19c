"""The routes of the live page, and who may use them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reports
from recorded import TRIALS, Told, write
from starlette.routing import Route

from tuning.cli.live.guard import FORM_HEADER, HEADERS, Secrets, is_loopback
from tuning.ledger.outcomes import Outcome
from tuning.ledger.requests import requests_in

Make = Callable[..., Any]
GETS = ["/", "/live/live.js", "/live/live.css", "/events"]


@pytest.fixture
def make(served: Any) -> Make:
    """The fixture's class, for a page with other settings."""
    return type(served)


# --- what it answers --------------------------------------------------------------------------


def test_the_token_in_the_address_opens_the_page_and_the_cookie_what_it_loads(served: Any) -> None:
    client = served.fresh()
    page = client.get(f"/?token={served.secrets.token}")
    assert page.status_code == 200
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    for wanted in ("live.js", "live.css"):
        assert f"/live/{wanted}" in page.text
    assert served.secrets.token not in page.text
    for path in GETS:
        assert client.get(path).status_code == 200, path


def test_every_file_that_a_script_imports_is_served(served: Any) -> None:

    from tuning.cli.live.page import page_files

    for name, (content, _) in page_files().items():
        for imported in re.findall(r'from "\./([\w.]+)"', content.decode()):
            assert served.client.get(f"/live/{imported}").status_code == 200, name


def test_events_are_everything_at_first_and_then_what_is_new(served: Any) -> None:
    first = served.client.get("/events")
    assert first.headers["content-type"].startswith("text/event-stream")
    identity, data = (line.partition(": ")[2] for line in first.text.splitlines()[:2])
    changes = json.loads(data)["changes"]
    assert [change["sweep"] for change in changes] == [0, 1]
    assert changes[0]["parts"]["head"]["state"] == "running"
    assert changes[0]["parts"]["trial 1"]["state"] == "running"
    assert changes[0]["points"]["1"] == [0, [[1.0, 0.4], [2.0, 0.5]]]
    served.looks = 0
    again = served.client.get("/events", headers={"Last-Event-ID": identity})
    known = [json.loads(line[6:]) for line in again.text.splitlines() if line.startswith("data: ")]
    for change in (change for event in known for change in event["changes"]):
        assert not change["anew"]
        assert not change["points"]


def test_names_and_reasons_reach_the_page_escaped(make: Make, tmp_path: Path) -> None:
    lost = Told(TRIALS[0].params, (0.2,), Outcome.FAILED, reports.HOSTILE)
    named = write(tmp_path / "</script><script>alert(1)<", (*TRIALS, lost))
    served = make([named])
    page = served.client.get("/")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;" in page.text
    sweep = served.sweeps.sweeps[0]
    sweep.make_sections()
    sections = {name: part for name, part in sweep.versions.since(0).parts.items() if name.startswith("sec")}
    assert "&lt;script&gt;alert" in sections["section failures"]
    assert all("<script" not in part for part in sections.values())


# --- whom it refuses --------------------------------------------------------------------------


def paths(served: Any) -> list[tuple[str, str]]:
    """A request to every route."""
    filled = {"{name}": "live.js", "{sweep:int}": "0", "{action}": "stop-sweep"}
    found = []
    for route in served.app.routes:
        assert isinstance(route, Route)
        path = route.path
        for part, value in filled.items():
            path = path.replace(part, value)
        found.append(("POST" if "POST" in (route.methods or ()) else "GET", path))
    assert len(found) == 4
    return found


@pytest.mark.parametrize("given", ["nothing", "wrong address", "wrong cookie", "cookie of another port"])
def test_no_route_answers_without_the_token(served: Any, given: str) -> None:
    for method, path in paths(served):
        client = served.fresh()
        client.headers[FORM_HEADER] = served.secrets.form
        query = "?token=wrong" if given == "wrong address" else ""
        if given == "wrong cookie":
            client.cookies.set(served.secrets.cookie, "wrong")
        elif given == "cookie of another port":
            client.cookies.set("adaptertune-1", served.secrets.token)
        answer = client.request(method, path + query)
        assert answer.status_code == 403, path
        assert "whole address that `adaptertune serve` printed" in answer.text
    assert requests_in(served.sweeps.sweeps[0].folder) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "8.8.8.8", "", "[::1"])
def test_a_name_that_is_made_to_point_here_gets_nothing(served: Any, host: str) -> None:
    for method, path in paths(served):
        assert served.client.request(method, path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8520", "LOCALHOST"])
def test_loopback_by_any_of_its_names_and_through_a_tunnel(served: Any, host: str) -> None:
    assert served.client.get("/", headers={"Host": host}).status_code == 200


def test_a_server_for_other_machines_goes_by_its_names_and_addresses(make: Make, folders: list[Path]) -> None:

    served = make(folders, host="0.0.0.0")
    for host, status in ((socket.gethostname(), 200), ("192.168.1.7:8520", 200), ("evil.example", 421)):
        assert served.client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "headers", [{FORM_HEADER: "wrong"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_another_site_can_ask_for_nothing(served: Any, headers: dict[str, str]) -> None:
    answer = served.client.post("/sweeps/0/stop-sweep", json={}, headers=headers)
    assert answer.status_code == 403
    form = served.client.post("/sweeps/0/stop-sweep", content="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    assert not (served.sweeps.sweeps[0].folder / "control").exists()


def test_every_answer_has_the_headers(served: Any) -> None:
    for client in (served.client, served.fresh()):
        for path in ("/", "/live/live.js", "/live/none", "/none", "/events"):
            found = client.get(path).headers
            assert {name: found[name] for name in HEADERS} == HEADERS, path
    assert "script-src 'self';" in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    ["/live/..%2f..%2fapp.py", "/live/%2e%2e/app.py", "/live/live.html", "/../ledger.jsonl", "/sweeps/x/add"],
)
def test_no_path_reaches_a_file(served: Any, path: str) -> None:
    assert served.client.get(path).status_code in (404, 405)


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.3", "localhost.evil.example", "")))
    assert Secrets(1).token != Secrets(1).token


# --- what it does -----------------------------------------------------------------------------


def test_read_only_refuses_every_action_and_offers_none(make: Make, folders: list[Path]) -> None:
    served = make(folders, read_only=True)
    page = served.client.get("/").text
    assert '"actions": {}' in page
    assert served.secrets.form not in page
    answer = served.client.post("/sweeps/0/stop-sweep", json={})
    assert answer.status_code == 403
    assert "--read-only" in answer.json()["said"]
    assert not (folders[0] / "control").exists()


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/sweeps/7/add", "{}", 404, "no such sweep or action"),
        ("/sweeps/0/launch", "{}", 404, "no such sweep or action"),
        ("/sweeps/0/add", "{", 400, "Invalid JSON"),
        ("/sweeps/0/add", '{"sets": []}', 400, "sets: Extra inputs"),
        ("/sweeps/0/add", json.dumps({"set": ["x" * 200_000]}), 413, "larger than 100,000 bytes"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    served: Any, path: str, body: str, status: int, said: str
) -> None:
    answer = served.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["said"]
