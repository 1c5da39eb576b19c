"""The page and the file of details that `evaluate --to` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.report.details_section import details_blocks
from analysis.report.document import Absent, Block, Figure, ReportDocument, Section
from analysis.report.figures import draw_figure
from analysis.report.html import render_page
from analysis.report.svg import Drawn
from analysis.tables import format_metric
from tuning.cli.files.inspection_files import write_whole

if TYPE_CHECKING:
    from pydantic import JsonValue

    from tuning.cli.adapters.domain_scores import DomainScore

PAGE, FILE = "evaluation.html", "evaluation.json"


def write_evaluation(
    title: str, scores: Sequence[DomainScore], answer: dict[str, JsonValue], images: str, folder: Path
) -> list[Path]:
    """Write both files into an existing folder; returns their paths. Raises StorageError.

    answer: what `--format json` prints; the details are added to its rows.  images: which, in words.
    """
    rows = answer["rows"]
    assert isinstance(rows, list)
    detailed: list[JsonValue] = [
        row | {"details": None if score.details is None else score.details.record()}
        for row, score in zip(rows, scores, strict=True)
        if isinstance(row, dict)
    ]
    text = json.dumps(answer | {"rows": detailed}, indent=1, ensure_ascii=False) + "\n"
    page = evaluation_page(title, scores, images)
    return write_whole({PAGE: page.encode(), FILE: text.encode()}, folder)


def evaluation_page(title: str, scores: Sequence[DomainScore], images: str) -> str:
    """A section for each model and domain."""
    sections: list[Section] = []
    drawings: dict[str, Drawn] = {}
    for number, score in enumerate(scores):
        where = score.domain or "in domain"
        blocks: tuple[Block, ...] = (Absent("None, as the outputs of the model are not numbers."),)
        if score.details is not None:
            found = details_blocks(score.details, f"{where}, {images}")
            # Figures of several sections have names of their own.
            blocks = tuple(
                replace(b, name=f"{b.name}-{number}") if isinstance(b, Figure) else b for b in found
            )
        drawings |= {b.name: draw_figure(b) for b in blocks if isinstance(b, Figure)}
        sections.append(Section(f"part-{number}", f"{score.model}, {where}", blocks))
    first = scores[0]
    highlights = tuple(
        (name, format_metric(first.metrics[name]), f"{first.model}, {first.domain or 'in domain'}")
        for name in ("map", "map_50", "dice", "iou")
        if name in first.metrics
    )
    document = ReportDocument(
        title=title,
        subtitle=f"On {images}.",
        highlights=highlights,
        sections=tuple(sections),
        footer="Written by `adaptertune evaluate`.",
        kind="evaluation",
    )
    return render_page(document, drawings)
