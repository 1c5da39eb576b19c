"""The contents of a report as values: sections of text, tables, figures and images.

Text is plain; a part between backticks is shown as code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.report.plots import Plot
from analysis.tables import Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Absent:
    """Why there is nothing to show."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class FactList:
    """A list of names and their values."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """Commands or a file, to be copied."""

    title: str
    text: str
    language: str = "sh"


@dataclass(frozen=True)
class Figure:
    """A plot with its texts. name: of its files.  alt: its description for screen readers."""

    name: str
    title: str
    alt: str
    caption: str
    plot: Plot


@dataclass(frozen=True)
class GalleryImage:
    """A stored image, as the bytes of its file."""

    name: str
    media: str
    data: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Images side by side, under one caption."""

    images: tuple[GalleryImage, ...]
    caption: str


Block = Text | Heading | Absent | Points | FactList | Listing | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the report. anchor: its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ReportDocument:
    """A whole report. highlights: the most important values."""

    title: str
    subtitle: str
    highlights: tuple[tuple[str, str, str], ...]
    """Name, value, and what it is measured on."""
    sections: tuple[Section, ...]
    footer: str
    kind: str = "report"
    """What kind of page it is, for its title."""

    @property
    def figures(self) -> Iterator[Figure]:
        """All figures, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Figure))

    @property
    def images(self) -> Iterator[GalleryImage]:
        """All images, in order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Gallery):
                    yield from block.images
