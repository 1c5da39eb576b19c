"""The files of the live page: its HTML for given sweeps, its style, its scripts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from analysis.report.html import page_style
from tuning.cli.live.actions import ACTIONS

BROWSER = files("tuning.cli.live") / "browser"
SCRIPTS = ("live.js", "panel.js", "curves.js", "table.js", "forms.js", "dom.js")
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """What the page loads, by its name in the address: content and type."""
    found = {name: ((BROWSER / name).read_bytes(), TYPES["js"]) for name in SCRIPTS}
    style = page_style() + (BROWSER / "live.css").read_text(encoding="utf-8")
    return found | {"live.css": (style.encode(), TYPES["css"])}


def page_html(names: list[str], *, form: str, read_only: bool) -> str:
    """The page. names: of the sweeps.  form: the secret of its forms; none where it is read-only."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((BROWSER / "live.html").read_text(encoding="utf-8"))
    actions: dict[str, Any] = {} if read_only else {name: one.shown() for name, one in ACTIONS.items()}
    setup = {"form": "" if read_only else form, "actions": actions}
    return template.render(names=names, setup=setup, read_only=read_only)
