"""How the figures of a report look, and how they become SVG and PNG. No ray, no torch.

Colours are Okabe and Ito's; nothing is told by colour alone. Text is drawn as outlines, so a figure looks
the same everywhere. What is drawn in `INK`, `PAPER` or `FAINT` follows the page's own colours.
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
"""Inches: on a telephone the text is still read, on a desk two go side by side."""
DPI = 200
GROUND: Mapping[str, Any] = {
    "boxstyle": "square,pad=0.08",
    "facecolor": PAPER,
    "edgecolor": "none",
    "alpha": 0.85,
}
"""Behind text that lines would cross."""

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
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "adaptertune",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Drawn:
    """A figure as files: for a page, by itself, and in pixels."""

    inline: str
    svg: bytes
    png: bytes


def adapter_colour(adapter: str) -> str:
    """An adapter's colour; that of `none` follows the page's."""
    return INK if adapter == "none" else COLOURS.get(adapter, OTHER)


def adapter_marker(adapter: str) -> str:
    """An adapter's marker."""
    return MARKERS.get(adapter, "*")


@contextmanager
def figure_style() -> Iterator[None]:
    """The look of all figures, for as long as they are drawn and written."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_STYLE)), warnings.catch_warnings():
        # Names in scripts that the font lacks show as boxes, and the text beside them says what they are.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_canvas(height: float, **given: Any) -> Canvas:
    """An empty figure of so many inches. Needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", **given)
    FigureCanvasAgg(figure)
    return figure


def render_figure(figure: Canvas, name: str, alt: str) -> Drawn:
    """The same bytes for the same figure. name: makes the ids in the page's SVG its own."""
    picture, vector = io.BytesIO(), io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    figure.set_layout_engine("none")  # it is laid out: the second file has the same places
    figure.savefig(
        vector, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = _shortened(vector.getvalue().decode("utf-8"))
    return Drawn(_inline(svg, name, alt), svg.encode("utf-8"), picture.getvalue())


_OF_THE_PAGE = {
    INK: "currentColor",
    PAPER: "var(--card)",
    FAINT: "var(--line)",
    "#0072b2": "var(--blue)",
    "#009e73": "var(--green)",
    "#d55e00": "var(--vermilion)",
}
"""Colours that the page sets: the last three are hard to see on a dark one."""
_PATH = re.compile(r'(?<= d=")[^"]*')
_LONG = re.compile(r"(\d+\.\d\d)\d+")


def _shortened(svg: str) -> str:
    """Hundredths of a point in outlines are enough; all else stays."""
    return _PATH.sub(lambda match: _LONG.sub(r"\1", match[0]), svg)


def _inline(svg: str, name: str, alt: str) -> str:
    """As part of a page: no prologue, ids of its own, the page's colours, words for those who do not see."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    for colour, variable in _OF_THE_PAGE.items():
        svg = svg.replace(colour, variable)
    # Matplotlib's own size is dropped, so that the page sets it; the viewBox keeps the shape.
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    rest = re.sub(r"<style[^>]*>.*?</style>", "", rest, flags=re.DOTALL)  # the page says the same once
    rest = re.sub(r"\n+", "\n", rest)
    return f'{head} role="img" aria-label="{_attribute(alt)}">{rest}'.strip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def shorten_name(name: str, most: int = 26) -> str:
    """A name that would crowd out the plot ends in an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"
