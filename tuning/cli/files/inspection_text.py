"""What `inspect` prints on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainables.wording import plural, printable

if TYPE_CHECKING:
    from trainables.data.faults import Finding
    from trainables.inspection.inspection import Inspection
    from trainables.inspection.leaks import Leak

MOST_CLASSES = 30
"""The classes that are listed, the most frequent first."""
WIDEST = 40
"""The characters of a class's name that a column has room for."""
MOST_LISTED = 10
"""The errors of a kind, and the leaks, that are listed."""


def inspection_lines(found: Inspection) -> list[str]:
    """The summary, in lines."""
    return [printable(line).rstrip() for line in _lines(found)]


def verdict(found: Inspection) -> str:
    """Whether training would take the data, in a sentence."""
    if found.refusals:
        return f"training would refuse these data ({plural(len(found.refusals), 'reason')})"
    if found.findings:
        return f"training would take these data, with errors: {fault_counts(found.findings)}"
    return "training would take these data"


def fault_counts(findings: Sequence[Finding]) -> str:
    """`2 × bad_box (box dropped), 1 × unreadable_image (image dropped)`."""
    counts = Counter((str(f.fault), str(f.action)) for f in findings)
    return ", ".join(f"{count} × {fault} ({action})" for (fault, action), count in counts.most_common())


def size_words(found: Inspection) -> list[tuple[str, str, str]]:
    """(size, size for the model, images) of the most frequent image sizes, as width×height."""
    return [(f"{w}×{h}", f"{tw}×{th}", f"{count:,}") for (h, w), (th, tw), count in found.sizes]


def leak_texts(leaks: Sequence[Leak]) -> list[str]:
    """The leaks in words, those by content first; copies within a part are said so."""
    return [f"{leak.kind}{'' if leak.across else ' in one part'}: {leak.text()}" for leak in leaks]


def _lines(found: Inspection) -> Iterator[str]:
    subject = found.subject
    yield f"{subject.title}: {subject.task} data of kind {subject.data.kind}"
    yield from (f"  {note}" for note in subject.notes)
    yield verdict(found)
    for refusal in found.refusals:
        yield from (f"  {line}" for line in refusal.splitlines())
    yield ""
    if found.parts:
        yield from _parts(found)
        yield from _classes(found)
    else:
        yield "no part of the data could be read"
    if found.mapping is not None:
        yield ""
        yield f"classes and {found.mapping.model} ({plural(found.mapping.labels, 'label')})"
        yield f"  {found.mapping.verdict}"
        for match in found.mapping.matches[:MOST_CLASSES]:
            known = f"label {match.label}" if match.label is not None else "not known"
            yield f"  {class_text(match.name)}: {known}" + (
                f"; did you mean '{match.near}'?" if match.near else ""
            )
    yield from _section("errors", _fault_lines(found.findings))
    yield from _section("warnings", found.warnings)
    signs = [f"{number}. {sign.text}" for number, sign in enumerate(found.signs, start=1)]
    yield from _section("signs of possible faults", signs)
    yield from _section("images that are there twice", _shortened(leak_texts(found.leaks)))


def _parts(found: Inspection) -> Iterator[str]:
    yield "parts"
    width = max((len(part.label) for part in found.parts), default=0)
    for part in found.parts:
        lost = f" ({part.images - part.used} left out)" if part.used != part.images else ""
        line = f"  {part.label:{width}}  {plural(part.used, 'image')}{lost}"
        if found.subject.task.facts.boxes:
            small, medium, large = part.sizes
            line += (
                f", {plural(part.boxes, 'box', 'boxes')}: {small:,} small, {medium:,} medium, {large:,} large"
            )
            line += f", {part.crowds:,} {'crowd' if part.crowds == 1 else 'crowds'}" if part.crowds else ""
        yield line + (f", {part.unlabelled} without an object" if part.unlabelled else "")
    at = "" if found.size_known else " (no model is named, so at their own size)"
    sizes = [f"{size} → {seen} ({count})" for size, seen, count in size_words(found)]
    if sizes:
        yield f"  sizes, and as the model sees them{at}: {', '.join(sizes)}"


def _classes(found: Inspection) -> Iterator[str]:
    yield ""
    masks = found.subject.task.facts.masks
    ordered = sorted(found.classes, key=lambda c: -(c.pixels or 0.0) if masks else -c.objects)
    yield f"classes ({len(ordered)})"
    width = min(WIDEST, max((len(class_text(c.name)) for c in ordered), default=0))
    total = sum(c.objects for c in ordered)
    for c in ordered[:MOST_CLASSES]:
        if masks:
            share = share_text(c.pixels or 0.0)
            yield f"  {class_text(c.name):{width}}  {share} of the pixels, in {plural(c.images, 'image')}"
            continue
        small, medium, large = c.sizes
        share = share_text(c.objects / total if total else 0.0)
        yield (
            f"  {class_text(c.name):{width}}  {plural(c.objects, 'object')} ({share}) in "
            f"{plural(c.images, 'image')}: {small:,} small, {medium:,} medium, {large:,} large"
        )
    if len(ordered) > MOST_CLASSES:
        yield f"  … and {len(ordered) - MOST_CLASSES} more (--json lists all)"


def class_text(name: str) -> str:
    """The class's name, in quotes if it begins or ends with a blank or is more than a line."""
    return name if name == name.strip() and name.isprintable() else repr(name)


def share_text(share: float) -> str:
    """`12.5 %`."""
    return f"{100 * share:.1f} %"


def _fault_lines(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = [fault_counts(findings)]
    kinds = dict.fromkeys((f.fault, f.action) for f in findings)
    for kind in kinds:
        own = [f for f in findings if (f.fault, f.action) == kind]
        lines += [f"{f.split}  {f.name}  {f.fault}: {f.detail}" for f in own[:MOST_LISTED]]
        if len(own) > MOST_LISTED:
            lines.append(f"… and {len(own) - MOST_LISTED} more of {kind[0]} (--json lists them)")
    return lines


def _shortened(lines: Sequence[str]) -> list[str]:
    more = [f"… and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
    return [*lines[:MOST_LISTED], *more]


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)
