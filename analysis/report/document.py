"""What a report holds, as values: sections of words, tables, figures and pictures. No ray, no torch.

Words are plain text; what stands between backticks is shown as code.
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
    """Of what follows, below a section's title."""

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
    """Names and what they are."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """Commands, or a file, to be copied as they are."""

    title: str
    text: str
    language: str = "sh"


@dataclass(frozen=True)
class Figure:
    """A drawing. name: of its files.  alt: for those who do not see it."""

    name: str
    title: str
    alt: str
    caption: str
    plot: Plot


@dataclass(frozen=True)
class GalleryImage:
    """An image that was kept, as a file's bytes."""

    name: str
    media: str
    data: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, under one caption."""

    images: tuple[GalleryImage, ...]
    caption: str


Block = Text | Heading | Absent | Points | FactList | Listing | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the report. anchor: its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ReportDocument:
    """All of it. highlights: the few figures that a reader looks for first."""

    title: str
    subtitle: str
    highlights: tuple[tuple[str, str, str], ...]
    """Name, figure, and what it is measured on."""
    sections: tuple[Section, ...]
    footer: str

    @property
    def figures(self) -> Iterator[Figure]:
        """All drawings, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Figure))

    @property
    def images(self) -> Iterator[GalleryImage]:
        """All pictures, in order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Gallery):
                    yield from block.images
