"""The style of a report's figures, and their files as SVG and PNG.

Colours are Okabe and Ito's; no information is in colour alone. Text is drawn as outlines, so a figure looks
the same everywhere. Parts in `INK`, `PAPER` or `FAINT` take the colours of the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.sweep_picture import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

INK, PAPER, FAINT = "#1f2327", "#fefefd", "#c9cfd6"
OTHER = "#7f7f7f"
BEST = "#D55E00"
FIRST = "#0072B2"
WIDTH = 5.0
"""Inches: the text is readable on a phone, and two figures fit side by side on a desktop screen."""
DPI = 200
GROUND: Mapping[str, Any] = {
    "boxstyle": "square,pad=0.08",
    "facecolor": PAPER,
    "edgecolor": "none",
    "alpha": 0.85,
}
"""The background of text that lines would cross."""

MARKERS: Mapping[str, str] = {
    "none": "s",
    "lora": "o",
    "adalora": "^",
    "loha": "v",
    "lokr": "D",
    "serial_lora": "P",
    "localized_lora": "X",
    "peft": "p",
}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", OTHER)
CYCLE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

_STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "text.parse_math": False,  # a name with two dollar signs is not a formula
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "adaptertune",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Drawn:
    """A figure as SVG for a page, as an SVG file and as a PNG file."""

    inline: str
    svg: bytes
    png: bytes


def adapter_colour(adapter: str) -> str:
    """The colour of an adapter; `none` has the text colour of the page."""
    return INK if adapter == "none" else COLOURS.get(adapter, OTHER)


def adapter_marker(adapter: str) -> str:
    """The marker of an adapter."""
    return MARKERS.get(adapter, "*")


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of all figures while they are drawn and written."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_STYLE)), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; the report's text next to the figure has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_canvas(height: float, **given: Any) -> Canvas:
    """An empty figure of the given height in inches. Needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", **given)
    FigureCanvasAgg(figure)
    return figure


def render_figure(figure: Canvas, name: str, alt: str) -> Drawn:
    """Render a figure; the same figure gives the same bytes. name: makes the ids in the page's SVG unique."""
    picture, vector = io.BytesIO(), io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    figure.set_layout_engine("none")  # the layout is done; the second file keeps it
    figure.savefig(
        vector, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = _shortened(vector.getvalue().decode("utf-8"))
    return Drawn(_inline(svg, name, alt), svg.encode("utf-8"), picture.getvalue())


OF_THE_PAGE = {
    INK: "currentColor",
    PAPER: "var(--card)",
    FAINT: "var(--line)",
    "#0072b2": "var(--blue)",
    "#009e73": "var(--green)",
    "#d55e00": "var(--vermilion)",
}
"""Colours that the page sets; the last three are hard to see on a dark page."""
_PATH = re.compile(r'(?<= d=")[^"]*')
_LONG = re.compile(r"(\d+\.\d\d)\d+")


def _shortened(svg: str) -> str:
    """Round outlines to hundredths of a point and change nothing else."""
    return _PATH.sub(lambda match: _LONG.sub(r"\1", match[0]), svg)


def render_inline(figure: Canvas, name: str, alt: str) -> str:
    """A figure as SVG for a page alone, in a fraction of the time."""
    vector = io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None})
    return _inline(_shortened(vector.getvalue().decode("utf-8")), name, alt)


def _inline(svg: str, name: str, alt: str) -> str:
    """The SVG as part of a page: no prologue, unique ids, the page's colours, a label for screen readers."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    for colour, variable in OF_THE_PAGE.items():
        svg = svg.replace(colour, variable)
    # Without Matplotlib's size, so that the page sets it; the viewBox keeps the aspect ratio.
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    rest = re.sub(r"<style[^>]*>.*?</style>", "", rest, flags=re.DOTALL)  # the page has these rules once
    rest = re.sub(r"\n+", "\n", rest)
    return f'{head} role="img" aria-label="{_attribute(alt)}">{rest}'.strip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def shorten_name(name: str, most: int = 26) -> str:
    """The name; a longer one than `most` characters ends in an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"
