"""The result of a comparison in sentences, and the whole of it for JSON."""

from __future__ import annotations

from pydantic import JsonValue

from analysis.compare.sides import Side, Sides
from analysis.query.floors import Part
from analysis.ranking.scored_metrics import scored_json
from analysis.statistics.bootstrap import (
    image_difference_json,
)
from trainables.specs.definition_words import definitions_in_words


def compare_sentences(sides: Sides) -> tuple[str, ...]:
    """The result of the comparison over test images, and its limits."""
    labels = sides.labels
    if sides.images is None:
        return (f"Not compared over test images: {sides.no_images}.",)
    return (
        f"Over test images: {sides.images.sentence_for(*labels)}.",
        "Each side is one trained model, so the variance over seeds is not included;"
        " `adaptertune ablate` repeats runs over seeds.",
    )


def compare_json(sides: Sides) -> dict[str, JsonValue]:
    """The whole comparison for JSON."""
    images = sides.images
    return {
        "a": _side_json(sides.one),
        "b": _side_json(sides.other),
        "experiments_differ": [{"key": d.key, "a": d.was, "b": d.now} for d in sides.file],
        "settings_differ": {name: {"a": a, "b": b} for name, (a, b) in sides.settings.items()},
        "caution": list(sides.caution),
        "over_test_images": None if images is None else image_difference_json(images),
        "words": list(compare_sentences(sides)),
    }


def _side_json(side: Side) -> dict[str, JsonValue]:
    standing, trial = side.standing, side.trial
    return {
        "experiment": side.sweep.name,
        "trial": trial.number,
        "outcome": trial.shown,
        "metric": side.sweep.objective.metric,
        "definitions": dict(
            definitions_in_words(side.sweep.experiment.workload.definitions, side.sweep.experiment.task)
        ),
        "validation": standing.value if standing else None,
        "floor": side.sweep.floors.at(side.sweep.objective.metric),
        "collapsed": standing.collapsed if standing else None,
        "epoch": standing.epoch if standing else None,
        "test": scored_json(side.score) if side.score is not None else None,
        "test_floor": side.sweep.floors.at(side.sweep.objective.metric, Part.TEST),
        "ran_epochs": trial.ran,
        "of_epochs": trial.epochs,
        "parameters": dict(trial.parameters),
        "seconds": trial.seconds,
        "config": dict(trial.config),
        "curve": [{"epoch": epoch, "value": value} for epoch, value in side.curve.items()],
    }
