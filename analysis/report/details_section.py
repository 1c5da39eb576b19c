"""The section on precision, recall and confusion, of a report and of `evaluate`."""

from __future__ import annotations

import numpy as np

from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material
from analysis.report.plots import Confusion, PrecisionRecall
from analysis.tables import Table, percent
from trainables.errors import DataError
from trainables.metrics.details import Details, read_details
from trainables.run_folder import DETAILS, TEST_RESULTS
from tuning.ledger.storage import trial_folder

ANCHOR, TITLE = "details", "Precision, recall and confusion"
MOST_CURVES = 16
"""The classes that have a line of their own; of more, those with the most and the least precision."""
MOST_ROWS = 30
"""The rows of a confusion that are drawn; of more, those with the most truth."""


def details_section(m: Material) -> Section:
    """Of the best scored trial, on the test images of the data's own domain."""
    for trial, _ in m.ranking.ranked:
        if trial.number not in m.sweep.scores:
            continue
        path = trial_folder(m.folder, trial.number) / TEST_RESULTS / DETAILS
        try:
            details = read_details(path)
        except DataError as error:
            return Section(ANCHOR, TITLE, (Absent(f"{error}."),))
        if details is not None:
            return Section(ANCHOR, TITLE, details_blocks(details, f"trial {trial.number}, test images"))
    text = (
        "Nothing is stored. It is stored when a trial is scored on test images after a sweep; "
        f"`adaptertune evaluate {m.folder.name}:best --to DIR` computes it for any trial."
    )
    return Section(ANCHOR, TITLE, (Absent(text),))


def details_blocks(details: Details, of: str) -> tuple[Block, ...]:
    """The curves, the confusion and the thresholds. of: the model and the images, in words."""
    blocks: list[Block] = []
    if details.precision:
        blocks.append(_curves(details, of))
    elif details.of_boxes:
        blocks.append(Absent("These images have no object, so there is no recall."))
    blocks.append(_confusion(details, of))
    if details.of_boxes:
        blocks.append(_thresholds(details, of))
    return tuple(blocks)


def _curves(details: Details, of: str) -> Figure:
    values = {name: np.array(precision) for name, precision in details.precision.items()}
    mean = np.mean(list(values.values()), axis=0)
    ordered = sorted(values, key=lambda name: -float(values[name].mean()))
    cut = len(ordered) > MOST_CURVES
    shown = [*ordered[: MOST_CURVES // 2], *ordered[-MOST_CURVES // 2 :]] if cut else ordered
    aps = ", ".join(f"{name} {float(values[name].mean()):.2f}" for name in shown)
    return Figure(
        "precision-recall",
        "Precision at each recall, IoU 0.5",
        f"Curves of precision against recall. AP50: {aps}; mean {float(mean.mean()):.2f}.",
        f" {of[:1].upper()}{of[1:]}. The mean of a curve is its class's AP50: {aps}."
        + (f" The best and the worst {MOST_CURVES // 2} of {len(ordered)} classes." if cut else ""),
        PrecisionRecall(tuple((n, tuple(values[n].tolist())) for n in shown), tuple(mean.tolist())),
    )


def _confusion(details: Details, of: str) -> Figure:
    counts = details.confusion
    places = list(range(len(details.rows)))
    if len(places) > MOST_ROWS:
        totals = counts.sum(axis=1)
        most = sorted(places[:-1], key=lambda i: -int(totals[i]))[: MOST_ROWS - 1]
        places = [*sorted(most), places[-1]]
    part = counts[np.ix_(places, places)]
    whole = counts[places].sum(axis=1, keepdims=True)
    shares = part / np.maximum(whole, 1)
    names = tuple(details.rows[i] for i in places)
    what = "objects" if details.of_boxes else "pixels"
    worst = [
        (float(shares[i, j]), names[i], names[j])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and shares[i, j] > 0 and not (details.of_boxes and i == len(names) - 1)
    ]
    most_taken = "; ".join(
        f"{percent(share)} of {true} for {called}" for share, true, called in sorted(worst)[::-1][:3]
    )
    caption = (
        f" {of[:1].upper()}{of[1:]}. Each row shows what the {what} of a class are taken for, as shares."
    )
    if details.of_boxes:
        caption += (
            " Boxes with at least the score threshold of their class, matched by decreasing score with an "
            "object of any class at IoU 0.5. The last column: objects that no box finds; the last row: boxes "
            "without an object, as shares of all such boxes."
        )
    if most_taken:
        caption += f" Most often taken for another: {most_taken}."
    if len(places) < len(details.rows):
        caption += f" The {len(places) - 1} most frequent of {len(details.rows) - 1} classes."
    return Figure(
        "confusion",
        f"What {what} are taken for",
        f"A matrix of true and predicted classes. Most often taken for another: {most_taken or 'none'}.",
        caption,
        Confusion(names, tuple(tuple(row) for row in shares.tolist())),
    )


def _thresholds(details: Details, of: str) -> Table:
    assert details.thresholds is not None
    chosen, counts = details.thresholds, details.confusion
    rows = []
    for place, name in enumerate(details.rows[:-1]):
        point = chosen.by_class.get(name)
        right = int(counts[place, place])
        called, true = int(counts[:, place].sum()), int(counts[place].sum())
        rows.append(
            (
                name,
                f"{chosen.of(name):.4f}",
                "–" if point is None else f"{point.f1:.4f}",
                "–" if not called else f"{right / called:.4f}",
                "–" if not true else f"{right / true:.4f}",
                f"{true:,}",
            )
        )
    whole = chosen.whole
    common = (
        "none, as no box is right there" if whole is None else f"{whole.threshold:.4f} (F1 {whole.f1:.4f})"
    )
    return Table(
        "Score thresholds",
        ("class", "threshold", "F1 on validation images", "precision", "recall", "objects"),
        tuple(rows),
        caption="Each has the highest F1 of its class on validation images; precision and recall are those "
        f"of {of}, at these thresholds. A class without a right box on validation images has the common "
        f"threshold: {common}",
        numeric=(1, 2, 3, 4, 5),
    )
