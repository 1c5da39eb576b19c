"""What `adaptertune export` does: a folder that plain transformers and PEFT load."""

from __future__ import annotations

from pathlib import Path

from tuning.checkpoints.trained_adapter import TrainedAdapter
from tuning.cli.console import console, lines


def export(trained: TrainedAdapter, to: Path, *, merge: bool) -> None:
    """Write the adapter into `to`, check what was written, and say what it is.

    merge: a plain model also where an adapter would do.
    Raises StorageError for a folder that holds something or a full disk, AdapterError, ModelError.
    """
    from trainables.export.card import Card
    from trainables.export.write import ExportKind, export_model

    in_domain = {"in domain": trained.test} if trained.test else {}
    card = Card(
        title=trained.title,
        figures=trained.figures,
        epoch=trained.epoch,
        test={**in_domain, **trained.domains},
        counts=trained.counts,
        file=trained.yaml,
        reproduce=trained.reproduce,
        environment=trained.environment,
    )
    done = export_model(trained.load(), to, merge=merge, card=card)
    what = "a plain model" if done.kind is ExportKind.MODEL else f"an adapter for {_base(done.base)}"
    out = console()
    lines(out, f"{trained.title} in {done.folder}: {what}, {done.size / 1e6:.1f} MB")
    for name in done.files:
        lines(out, f"  {name}")
    lines(
        out,
        f"outputs equal the trained model's; largest difference {done.largest_difference:.1e}",
        "load it with `from use import load` in that folder; README.md says how, and how it was made",
    )


def _base(base: str | None) -> str:
    return "the backbone that lies with it in base/" if base == "base" else f"{base}"
