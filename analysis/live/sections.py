"""The report's own sections as parts of the live page."""

from __future__ import annotations

from dataclasses import replace

from analysis.report.build import highlights_of
from analysis.report.costs import pareto_section
from analysis.report.document import Block, Figure
from analysis.report.figures import draw_inline
from analysis.report.html import render_blocks
from analysis.report.inputs import Material
from analysis.report.setup import searched_section
from analysis.report.training import cost_section, failures_section

SECTIONS = (failures_section, cost_section, pareto_section, searched_section)


class LiveSections:
    """The sections of one sweep as HTML. A figure is drawn again only if what it shows has changed."""

    def __init__(self, prefix: str) -> None:
        """prefix: of the ids on a page with several sweeps."""
        self._prefix = prefix
        self._drawn: dict[str, tuple[Figure, str]] = {}

    def parts(self, m: Material) -> dict[str, object]:
        """The highlights, as lists of text, and the content of each section, as HTML that is escaped."""
        found: dict[str, object] = {"highlights": [list(one) for one in highlights_of(m)]}
        for section in (make(m) for make in SECTIONS):
            blocks = tuple(self._named(block) for block in section.blocks)
            drawings = {block.name: self._drawing(block) for block in blocks if isinstance(block, Figure)}
            found[f"section {section.anchor}"] = render_blocks(blocks, drawings)
        return found

    def _named(self, block: Block) -> Block:
        return replace(block, name=f"{self._prefix}{block.name}") if isinstance(block, Figure) else block

    def _drawing(self, figure: Figure) -> str:
        known = self._drawn.get(figure.name)
        if known is None or known[0] != figure:
            known = self._drawn[figure.name] = figure, draw_inline(figure)
        return known[1]
