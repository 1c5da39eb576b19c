"""The command `export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.options import Adapter, Storage

if TYPE_CHECKING:
    from tuning.checkpoints.trained_adapter import TrainedAdapter


def run_export(
    adapter: Adapter,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a plain model, with the adapter merged into its weights.")
    ] = False,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="REPO", help="Upload it to this repository of the hub too."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --push: a new repository is visible to all.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Export a trained adapter as a folder that plain transformers and peft can load.

    Examples:

        adaptertune export nuclei:best --to nuclei-lora
        adaptertune export nuclei:best --to nuclei-whole --merge
        adaptertune export nuclei:best --to nuclei-lora --push me/nuclei-lora

    The outputs of the exported model are compared with those of the trained one, and the largest difference
    is printed. docs/how-to/export.md describes the files.
    \f
    ADAPTER is as for `evaluate`.
    """
    from tuning.cli.find_adapter import find_adapter

    if public and push is None:
        raise StorageError("--public is for the repository of --push; add --push REPO, or leave it out")
    export_adapter(find_adapter(adapter, storage), to, merge=merge, push=push, public=public)


def export_adapter(
    trained: TrainedAdapter, to: Path, *, merge: bool, push: str | None = None, public: bool = False
) -> None:
    """Write the adapter into `to`, check what was written, print what it is, and upload it if asked.

    merge: write a plain model also where an adapter could be written.  push: a repository of the hub.
    Raises StorageError for a folder that is not empty or a full disk, AdapterError, ModelError.
    """
    from trainables.export.card import Card  # torch
    from trainables.export.push import check_push, push_export
    from trainables.export.write import ExportKind, export_model
    from tuning.cli.console import console, print_lines

    if push is not None:
        check_push(push)
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
    done = export_model(trained.load(), to, merge=merge, card=card, elsewhere=push is not None)
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
    if push is not None:
        sent = push_export(done.folder, done.files, push, public=public, title=trained.title)
        seen = "private" if sent.private else "public"
        print_lines(out, f"uploaded {len(done.files)} files to {push}, which is {seen}: {sent.url}")


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
