"""The command `export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Adapter, Storage

if TYPE_CHECKING:
    from tuning.checkpoints.trained_adapter import TrainedAdapter


def run_export(
    adapter: Adapter,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a plain model, with the adapter merged into its weights.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Export a trained adapter as a folder that plain transformers and peft can load.

    Examples:

        adaptertune export nuclei:best --to nuclei-lora
        adaptertune export nuclei:best --to nuclei-whole --merge

    The outputs of the exported model are compared with those of the trained one, and the largest difference
    is printed. docs/how-to/export.md describes the files.
    \f
    ADAPTER is as for `evaluate`.
    """
    from tuning.cli.find_adapter import find_adapter

    export_adapter(find_adapter(adapter, storage), to, merge=merge)


def export_adapter(trained: TrainedAdapter, to: Path, *, merge: bool) -> None:
    """Write the adapter into `to`, check what was written, and print what it is.

    merge: write a plain model also where an adapter could be written.
    Raises StorageError for a folder that is not empty or a full disk, AdapterError, ModelError.
    """
    from trainables.export.card import Card  # torch
    from trainables.export.write import ExportKind, export_model
    from tuning.cli.console import console, print_lines

    in_domain = {"in domain": trained.test} if trained.test else {}
    card = Card(
        title=trained.title,
        metrics=trained.metrics,
        epoch=trained.epoch,
        test={**in_domain, **trained.domains},
        floors=_floors_of(trained.floors),
        collapsed=trained.collapsed,
        counts=trained.counts,
        file=trained.yaml,
        reproduce=trained.reproduce,
        environment=trained.environment,
        confirmed=trained.confirmed,
    )
    done = export_model(trained.load(), to, merge=merge, card=card)
    what = "a plain model" if done.kind is ExportKind.MODEL else f"an adapter for {_base_model(done.base)}"
    out = console()
    print_lines(out, f"{trained.title} in {done.folder}: {what}, {done.size / 1e6:.1f} MB")
    for name in done.files:
        print_lines(out, f"  {name}")
    print_lines(
        out,
        f"the outputs equal those of the trained model; largest difference {done.largest_difference:.1e}",
        "load it with `from use import load` in that folder; README.md explains how, and how it was made",
    )


def _floors_of(recorded: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """The floors by the names that a card gives images, from the recorded `validation`, `test@NAME`, …"""
    found = {}
    for images, floors in recorded.items():
        part, _, domain = images.partition("@")
        if part == "validation":
            found[f"validation images of {domain}" if domain else "validation images"] = floors
        else:
            found[domain or "in domain"] = floors
    return found


def _base_model(base: str | None) -> str:
    return "the backbone in its folder base/" if base == "base" else f"{base}"
