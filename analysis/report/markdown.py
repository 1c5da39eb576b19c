"""A report as Markdown, with links to its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import assert_never

from analysis.report.document import (
    Absent,
    Block,
    FactList,
    Figure,
    Gallery,
    Heading,
    Listing,
    Points,
    ReportDocument,
    Text,
)
from analysis.tables import Table
from trainables.wording import with_full_stop


def report_markdown(report: ReportDocument, figures: str) -> str:
    """The whole text. figures: the folder of the images, as links name it."""
    parts = [f"# {_text(report.title)}", _text(report.subtitle)]
    parts.append(
        "\n".join(
            f"- **{_text(name)}**: {_text(value)} ({_text(on)})" for name, value, on in report.highlights
        )
    )
    parts.append("\n".join(f"- [{section.title}](#{_anchor(section.title)})" for section in report.sections))
    for section in report.sections:
        parts.append(f"## {section.title}")
        for block in section.blocks:
            parts += _block(block, figures)
    parts.append(_text(report.footer))
    return "\n\n".join(parts) + "\n"


def _block(block: Block, figures: str) -> Iterator[str]:
    match block:
        case Text():
            yield _text(block.text)
        case Heading():
            yield f"### {_text(block.text)}"
        case Absent():
            yield f"_{_text(block.text)}_"
        case Points():
            yield "\n".join(f"- {_text(item)}" for item in block.items)
        case FactList():
            yield "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in block.pairs)
        case Listing():
            yield f"{_text(block.title)}:"
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
            yield f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}"
        case Table():
            yield from _table(block)
        case Figure():
            yield f"![{_alt(block.alt)}]({figures}/{block.name}.png)"
            yield f"**{_text(block.title)}.** {_text(block.caption)}"
        case Gallery():
            for image in block.images:
                yield f"![{_alt(image.alt)}]({figures}/{image.name})\n\n{_text(image.caption)}"
            yield _text(block.caption)
        case _:
            assert_never(block)


def _table(table: Table) -> Iterator[str]:
    flush = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    lines = [
        [_cell(column) for column in table.columns],
        flush,
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    yield f"**{_text(table.title)}**"
    yield "\n".join("| " + " | ".join(line) + " |" for line in lines)
    if table.caption:
        yield _text(with_full_stop(table.caption))


def _text(text: str) -> str:
    """The text on one line, escaped: outside of code it starts no HTML, emphasis or link."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(piece if i % 2 else _SPECIAL.sub(r"\\\g<0>", piece) for i, piece in enumerate(pieces))


_SPECIAL = re.compile(r"[\\*\[\]<>]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters that Markdown interprets; an underscore inside a word is not one."""


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|") or " "


def _alt(text: str) -> str:
    return re.sub(r"([\\\[\]<>])", r"\\\1", " ".join(text.split()))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
