"""A report as one self-contained page of HTML: no script, no request."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from analysis.report.document import Block, FactList, Figure, ReportDocument
from analysis.report.svg import Drawn
from analysis.tables import Table
from trainables.wording import with_full_stop

if TYPE_CHECKING:
    from jinja2 import Environment

NARROW = 56
"""Maximum characters in a line of a table that goes next to a figure on a wide screen."""


@dataclass(frozen=True)
class _Shown:
    kind: str
    value: Block


def render_page(report: ReportDocument, drawings: Mapping[str, Drawn]) -> str:
    """The whole page. All text from the record is escaped."""
    from markupsafe import Markup

    return (
        page_templates()
        .get_template("page.html")
        .render(
            report=report,
            css=Markup(page_style()),
            drawings={name: Markup(drawn.inline) for name, drawn in drawings.items()},
        )
    )


def render_blocks(blocks: Sequence[Block], drawings: Mapping[str, str]) -> str:
    """The blocks of one section, as a part of a page with `page_style`; escaped like the whole page.

    drawings: the SVG of each figure, by its name.
    """
    from markupsafe import Markup

    inline = {name: Markup(svg) for name, svg in drawings.items()}
    module: Any = page_templates().get_template("blocks.html").module
    return str(module.rows_of(blocks, inline)).strip()


def page_style() -> str:
    """The style sheet of a report's page."""
    return (files("analysis.report") / "page.css").read_text(encoding="utf-8")


@cache
def page_templates() -> Environment:
    """The templates of a report's page. Text is escaped unless it is marked as safe."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        loader=FunctionLoader(lambda name: (files("analysis.report") / name).read_text(encoding="utf-8")),
    )
    environment.filters["rows"] = _rows
    environment.filters["code"] = lambda text: Markup(_with_code(str(Markup.escape(text))))
    environment.filters["stop"] = with_full_stop
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    return environment


def _with_code(escaped: str) -> str:
    """The text with parts between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)


def _rows(blocks: Sequence[Block]) -> list[list[_Shown]]:
    """Consecutive figures and small tables in pairs; every other block in a row of its own."""
    rows: list[list[_Shown]] = []
    open_ = False
    for block in blocks:
        shown = _Shown(type(block).__name__, block)
        if open_ and _narrow(block):
            rows[-1].append(shown)
            open_ = False
        else:
            rows.append([shown])
            open_ = _narrow(block)
    return rows


def _narrow(block: Block) -> bool:
    match block:
        case Figure() | FactList():
            return True
        case Table():
            columns = zip(block.columns, *block.rows, strict=True)
            return sum(max(map(len, cells)) for cells in columns) <= NARROW
        case _:
            return False
