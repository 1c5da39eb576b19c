"""The whole result of an ablation: as sentences, as Markdown, and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from analysis.ablation.confirmed import confirmed, confirmed_json, confirmed_table
from analysis.ablation.over_images import image_differences, image_sentence
from analysis.ablation.result import AblationResult, Run, result_tables, seed_sentences
from analysis.statistics.bootstrap import ImageDifference, image_difference_json
from analysis.statistics.paired import comparison_json
from analysis.tables import Table, csv_text, table_markdown
from tuning.experiment.sections.ablation import AblationStage


def result_json(result: AblationResult, folder: Path) -> dict[str, JsonValue]:
    """Design, runs, the comparisons over seeds and over images, and the sentences, for JSON."""
    by_image = image_differences(result, folder)
    repeated = result.spec.stage is AblationStage.CONFIRM
    return {
        **({"confirmed": confirmed_json(confirmed(result))} if repeated else {}),
        "experiment": result.name,
        "design": result.spec.model_dump(mode="json"),
        "images": result.images.value,
        "floor": result.floor,
        "comparison": comparison_json(result.comparison),
        "validation": comparison_json(result.validation),
        "over_images": {level: image_difference_json(d) for level, d in by_image.items()},
        "runs": [_run_json(run) for run in result.runs],
        "words": list(_sentences(result, by_image)),
    }


def _run_json(run: Run) -> dict[str, JsonValue]:
    return {
        "level": run.level,
        "seed": run.seed,
        **({} if run.fold is None else {"fold": run.fold}),
        "trial": run.trial,
        "outcome": run.outcome,
        "validation": run.value,
        "collapsed": run.collapsed,
        "epoch": run.epoch,
        "test": run.test,
        "trainable": run.trainable,
        "seconds": run.seconds,
        "peak_mb": run.peak_mb,
    }


def result_csv(result: AblationResult) -> str:
    """A CSV line for each run."""
    rows = [_run_json(run) for run in result.runs]
    return csv_text(list(rows[0]), (list(row.values()) for row in rows))


def all_sentences(result: AblationResult, folder: Path) -> tuple[str, ...]:
    """The result as sentences: over seeds, then over images."""
    return _sentences(result, image_differences(result, folder))


def _sentences(result: AblationResult, by_image: Mapping[str, ImageDifference]) -> tuple[str, ...]:
    if result.spec.stage is AblationStage.CONFIRM:
        return (f"{confirmed(result).answer}.", *seed_sentences(result))
    over_images = (image_sentence(level, result.spec.reference, d) for level, d in by_image.items())
    return (*seed_sentences(result), *over_images)


def shown_tables(result: AblationResult) -> tuple[Table, ...]:
    """The levels with their results and costs, and their differences."""
    tables = result_tables(result)
    if result.spec.stage is AblationStage.CONFIRM:
        return (confirmed_table(confirmed(result)), *tables[1:])
    return tables


def result_markdown(result: AblationResult, folder: Path) -> str:
    """The tables and the sentences as Markdown."""
    parts = [table_markdown(table) for table in shown_tables(result)]
    return (
        "\n\n".join([*parts, "\n".join(f"- {sentence}" for sentence in all_sentences(result, folder))]) + "\n"
    )
