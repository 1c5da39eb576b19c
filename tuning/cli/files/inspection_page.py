"""The page of `inspect`: the form of a report, with what was found in the data."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from analysis.report.document import (
    Absent,
    Block,
    FactList,
    Figure,
    Gallery,
    GalleryImage,
    Heading,
    Points,
    ReportDocument,
    Section,
    Text,
)
from analysis.report.figures import draw_figure
from analysis.report.html import render_page
from analysis.report.plots import Bars
from analysis.tables import Table
from trainables.wording import few, plural, printable, with_full_stop
from tuning.cli.files.inspection_text import (
    class_text,
    fault_counts,
    leak_texts,
    share_text,
    size_words,
    verdict,
)

if TYPE_CHECKING:
    from trainables.inspection.counts import ClassCounts
    from trainables.inspection.inspection import Inspection
    from trainables.inspection.pictures import Picture

MOST = 100
"""Rows of a table of errors or of images; of more, only the number is said."""
MOST_BARS = 30
QUALITY = 88
"""Of JPEG, for pictures on the page; the contact sheet is PNG."""


def inspection_page(found: Inspection, pictures: Sequence[Picture]) -> str:
    """The whole page, which needs no other file."""
    document = inspection_document(found, pictures)
    return printable(render_page(document, {figure.name: draw_figure(figure) for figure in document.figures}))


def inspection_document(found: Inspection, pictures: Sequence[Picture]) -> ReportDocument:
    """The page's contents as values."""
    boxes = found.subject.task.facts.boxes
    images = sum(part.used for part in found.parts)
    objects = sum(part.boxes for part in found.parts)
    across = sum(leak.across and leak.kind != "same name" for leak in found.leaks)
    highlights = [
        ("images", f"{images:,}", ", ".join(f"{p.used:,} {p.label}" for p in found.parts) or "none"),
        ("classes", f"{len(found.classes):,}", few([c.name for c in found.classes], 4)),
        ("errors", f"{len(found.findings):,}", fault_counts(found.findings) or "none found"),
        ("in two parts", f"{across:,}", "images with the same content"),
        ("signs", f"{len(found.signs):,}", "of possible faults"),
    ]
    if boxes:
        small, medium, large = (sum(p.sizes[i] for p in found.parts) for i in range(3))
        sizes = f"{small:,} small, {medium:,} medium, {large:,} large"
        highlights.insert(1, ("boxes", f"{objects:,}", sizes))
    sections = [
        _verdict(found),
        _pictures(found, pictures),
        _faults(found),
        _signs(found),
        _classes(found),
        _parts(found),
    ]
    return ReportDocument(
        title=found.subject.title,
        subtitle=f"{with_full_stop(_first_upper(verdict(found)))} {_kind(found)}",
        highlights=tuple(highlights),
        sections=tuple(section for section in sections if section is not None),
        footer="Written by `adaptertune inspect`. Nothing was trained.",
        kind="inspection of data",
    )


def _kind(found: Inspection) -> str:
    notes = "; ".join(found.subject.notes)
    return f"Data of kind {found.subject.data.kind} for {found.subject.task}" + (
        f": {notes}." if notes else "."
    )


def _verdict(found: Inspection) -> Section:
    blocks: list[Block] = []
    if found.refusals:
        blocks.append(Text("Training would refuse these data. The reasons, as it would print them:"))
        blocks += [Points((text.splitlines()[0],)) for text in found.refusals if "\n" not in text]
        long = [text for text in found.refusals if "\n" in text]
        blocks += [
            Table("", ("reason",), tuple((line.strip(),) for line in text.splitlines())) for text in long
        ]
    else:
        blocks.append(Text(with_full_stop(_first_upper(verdict(found)))))
    if found.mapping is not None:
        mapping = found.mapping
        rows = tuple(
            (
                class_text(m.name),
                "–" if m.label is None else str(m.label),
                "" if m.near is None else f"'{m.near}'?",
            )
            for m in mapping.matches
        )
        caption = f"{_first_upper(mapping.verdict)}. Names must be equal, letter by letter"
        blocks.append(
            Table(
                f"Classes and the checkpoint's labels ({mapping.model}, {plural(mapping.labels, 'label')})",
                ("class of the data", "label", "meant"),
                rows,
                caption=caption,
                numeric=(1,),
            )
        )
    elif found.subject.model is None:
        blocks.append(Absent("No model is named: `--model` adds which classes its checkpoint knows."))
    return Section("verdict", "Would training take these data?", tuple(blocks))


def _pictures(found: Inspection, pictures: Sequence[Picture]) -> Section:
    title = "Images as the model sees them" if found.size_known else "Images"
    if not pictures:
        return Section("images", title, (Absent("No image was found."),))
    faulty = [p for p in pictures if p.faulty]
    others = [p for p in pictures if not p.faulty]
    size = (
        "Resized to the model's size, then enlarged to be looked at"
        if found.size_known
        else "No model is named, so images are shown at their own size, up to 1024 pixels"
    )
    blocks: list[Block] = []
    if faulty:
        blocks += [Heading("With errors"), _gallery(faulty, f"{size}. Boxes are drawn as they were read.", 0)]
    if others:
        blocks += [Heading("Examples")] if faulty else []
        blocks.append(_gallery(others, f"{size}. Examples of every class and of every part.", len(faulty)))
    return Section("images", title, tuple(blocks))


def _gallery(pictures: Sequence[Picture], caption: str, start: int) -> Gallery:
    return Gallery(tuple(_image(p, start + i) for i, p in enumerate(pictures)), caption)


def _image(picture: Picture, number: int) -> GalleryImage:
    data = io.BytesIO()
    picture.image.convert("RGB").save(data, "JPEG", quality=QUALITY)
    why = f" {with_full_stop(picture.why)}" if picture.why else ""
    text = f"{picture.title}: {picture.shows}.{why}"
    return GalleryImage(f"image-{number}.jpg", "image/jpeg", data.getvalue(), alt=text, caption=text)


def _faults(found: Inspection) -> Section:
    blocks: list[Block] = []
    if found.findings:
        rows = tuple(
            (str(f.split), f.name, f"{f.fault}: {f.detail}", str(f.action)) for f in found.findings[:MOST]
        )
        more = len(found.findings) - MOST
        caption = f"{more:,} more are not listed; --json has the first 1,000" if more > 0 else ""
        title = f"{plural(len(found.findings), 'error')}: {fault_counts(found.findings)}"
        blocks.append(Table(title, ("part", "image", "error", "what is done"), rows, caption=caption))
    else:
        blocks.append(Absent("No image, box or mask has an error."))
    if found.warnings:
        blocks += [Heading("Warnings"), Points(tuple(found.warnings))]
    return Section("errors", "Errors and warnings", tuple(blocks))


def _signs(found: Inspection) -> Section:
    if not found.signs:
        return Section("signs", "Signs of possible faults", (Absent("There are none."),))
    rows = tuple((str(number), sign.text) for number, sign in enumerate(found.signs, start=1))
    table = Table(
        "What may be wrong, though it can be read",
        ("no.", "sign"),
        rows,
        caption="A sign is no error. Pictures that show one name its number",
        numeric=(0,),
    )
    return Section("signs", "Signs of possible faults", (table,))


def _classes(found: Inspection) -> Section:
    masks = found.subject.task.facts.masks
    ordered = sorted(found.classes, key=lambda c: -_weight(c, masks))
    if not ordered:
        return Section("classes", "Classes", (Absent("No class was found."),))
    total = sum(_weight(c, masks) for c in ordered) or 1.0
    labels = [part.label for part in found.parts]
    rows = tuple(tuple(_class_row(c, total, masks)) for c in ordered)
    columns = ["class", "pixels", "images"] if masks else ["class", "objects", "share", "images"]
    columns += [] if masks else ["small", "medium", "large"]
    columns += [f"images in {label}" for label in labels]
    table = Table(
        "Classes by " + ("pixels" if masks else "objects"),
        tuple(columns),
        rows,
        caption=""
        if masks
        else "Without crowds. Small: an annotated area of at most 32², medium: at most 96², large: above, in "
        "square pixels of the original image",
        numeric=tuple(range(1, len(columns))),
    )
    what = "pixels" if masks else "objects"
    bars = tuple((class_text(c.name), _weight(c, masks) / total, True) for c in ordered[:MOST_BARS])
    alt = "; ".join(f"{name}: {share_text(share)}" for name, share, _ in bars)
    figure = Figure(
        "classes",
        f"Share of all {what} by class",
        f"Bars of the share of {what} by class. {alt}.",
        "" if len(ordered) <= MOST_BARS else f" The {MOST_BARS} most frequent of {len(ordered)} classes.",
        Bars(f"share of {what}", bars),
    )
    return Section("classes", "Classes", (figure, table))


def _weight(counts: ClassCounts, masks: bool) -> float:
    return (counts.pixels or 0.0) if masks else float(counts.objects)


def _class_row(counts: ClassCounts, total: float, masks: bool) -> Iterator[str]:
    yield class_text(counts.name)
    if masks:
        yield share_text(counts.pixels or 0.0)
        yield f"{counts.images:,}"
    else:
        yield f"{counts.objects:,}"
        yield share_text(counts.objects / total)
        yield f"{counts.images:,}"
        yield from (f"{size:,}" for size in counts.sizes)
    yield from (f"{images:,}" for images in counts.by_part)


def _parts(found: Inspection) -> Section:
    boxes = found.subject.task.facts.boxes
    columns = ("part", "images", "left out", "without an object") + (
        ("boxes", "crowds", "small", "medium", "large", "below 8 pixels") if boxes else ()
    )
    rows = tuple(
        (p.label, f"{p.used:,}", f"{p.images - p.used:,}", f"{p.unlabelled:,}")
        + ((f"{p.boxes:,}", f"{p.crowds:,}", *(f"{n:,}" for n in p.sizes), f"{p.tiny:,}") if boxes else ())
        for p in found.parts
    )
    blocks: list[Block] = [Table("Parts", columns, rows, numeric=tuple(range(1, len(columns))))]
    sizes = tuple(
        (f"{size}", f"{seen} for the model, {count} images") for size, seen, count in size_words(found)
    )
    if sizes:
        blocks += [Heading("Sizes of images"), FactList(sizes)]
    blocks.append(Heading("Images that are there twice"))
    texts = leak_texts(found.leaks)
    if texts:
        more = len(texts) - MOST
        blocks.append(Points((*texts[:MOST], *([f"and {more:,} more"] if more > 0 else []))))
        if any(text.startswith("same name") for text in texts):
            blocks.append(Text("An equal name alone proves nothing: folders may number their images alike."))
    else:
        blocks.append(Absent("None: no two images have the same pixels, and no name is in two parts."))
    return Section("parts", "Parts, sizes and leaks", tuple(blocks))


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
