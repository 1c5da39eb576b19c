"""A hub on loopback: it knows one account, keeps what is committed, and answers as the real one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub
import pytest

TOKEN = "hf_of_the_test"
COMMIT = "1f" * 20


@dataclass
class FakeHub:
    """repos: the files of each repository by name.  private: by repository."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    may_write: bool = True
    loses: str = ""
    """A file that the hub does not keep."""

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        path = path.partition("?")[0]
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user"}
        if not self.may_write:
            return 403, {"error": "You don't have the rights to create a model"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        _, _, _, owner, name, *rest = path.split("/")
        files = self.repos[f"{owner}/{name}"]
        match rest:
            case ["preupload", _]:
                modes = {"uploadMode": "regular", "shouldIgnore": False}
                asked = json.loads(body)["files"]
                return 200, {"files": [{"path": file["path"]} | modes for file in asked]}
            case ["commit", _]:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file" and line["value"]["path"] != self.loses:
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return 200, {"commitUrl": f"{self.url}/{owner}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
            case ["tree", *_]:
                sizes = {path: len(content) for path, content in files.items()}
                return 200, [
                    {"type": "file", "path": path, "size": size, "oid": COMMIT}
                    for path, size in sizes.items()
                ]
            case _:
                private = self.private[f"{owner}/{name}"]
                return 200, {"id": f"{owner}/{name}", "private": private, "sha": COMMIT, "siblings": []}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if repo in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}
        self.repos[repo] = {}
        self.private[repo] = asked.get("private") or asked.get("visibility") == "private"
        return 200, {"url": f"{self.url}/{repo}", "name": repo}


@contextmanager
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub, which the client of this process uses."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = hub.answer(self.command, self.path, body, self.headers.get("Authorization"))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub
        server.shutdown()
