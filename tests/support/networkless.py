"""A folder for PYTHONPATH in which every attempt of a process to reach a network is noted, and refused."""

from __future__ import annotations

from pathlib import Path

SITE = """
import os
import socket


def _refuse(name):
    def refused(*given, **named):
        if given and isinstance(given[0], socket.socket) and given[0].family == socket.AF_UNIX:
            return before(*given, **named)
        with open({log!r}, "a") as log:
            log.write(f"{{name}} {{given!r}}\\n")
        raise OSError("no network in this test")

    return refused


before = socket.socket.connect
socket.socket.connect = _refuse("connect")
socket.socket.connect_ex = _refuse("connect_ex")
socket.getaddrinfo = _refuse("getaddrinfo")
socket.create_connection = _refuse("create_connection")
open({log!r}, "a").write("began\\n")
"""


def networkless(folder: Path) -> tuple[Path, Path]:
    """The folder for PYTHONPATH, and the file that names each attempt after a first line `began`."""
    log = folder / "network.txt"
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "sitecustomize.py").write_text(SITE.format(log=str(log)))
    return folder / "site", log
