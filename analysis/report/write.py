"""Writing a report to disk: the page or the Markdown, and each figure as PNG and SVG."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from analysis.report.build import report_of
from analysis.report.document import ReportDocument
from analysis.report.figures import draw_figure
from analysis.report.html import render_page
from analysis.report.inputs import Material
from analysis.report.markdown import report_markdown
from analysis.report.svg import Drawn
from trainables.errors import StorageError

FOLDER = "report"
"""The default folder of a report, in the experiment's folder."""
PAGE, MARKDOWN, FIGURES = "report.html", "report.md", "figures"


def write_report(experiment: Path, to: Path | None = None, *, as_markdown: bool = False) -> Path:
    """Write the report of the experiment in a folder and return the path of its text.

    to: a folder, created if absent; files of an earlier report in it are replaced. Raises LedgerError if
    the experiment has no usable record, StorageError if `to` cannot be written.
    """
    place = experiment / FOLDER if to is None else to
    try:  # checked before the work starts
        (place / FIGURES).mkdir(parents=True, exist_ok=True)
        if not os.access(place / FIGURES, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _cannot(place, error) from error
    return save_report(report_of(Material.at(experiment)), place, as_markdown=as_markdown)


def save_report(report: ReportDocument, place: Path, *, as_markdown: bool = False) -> Path:
    """Write a report and its figures into an existing folder. Raises StorageError."""
    drawings: dict[str, Drawn] = {figure.name: draw_figure(figure) for figure in report.figures}
    text = report_markdown(report, FIGURES) if as_markdown else render_page(report, drawings)
    written = place / (MARKDOWN if as_markdown else PAGE)
    try:
        (place / FIGURES).mkdir(exist_ok=True)
        for name, drawn in drawings.items():
            (place / FIGURES / f"{name}.svg").write_bytes(drawn.svg)
            (place / FIGURES / f"{name}.png").write_bytes(drawn.png)
        if as_markdown:
            for image in report.images:
                (place / FIGURES / image.name).write_bytes(image.data)
        written.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _cannot(place, error) from error
    return written


def _cannot(place: Path, error: OSError) -> StorageError:
    reason = (error.strerror or str(error)).lower()
    return StorageError(f"cannot write a report in {place}: {reason}; name another folder with --to")
