"""The command `export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.options import Adapter, Storage

if TYPE_CHECKING:
    from trainables.export.card_facts import Card
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
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write an ONNX file; takes minutes for a large model.")
    ] = False,
    external_data: Annotated[
        bool,
        typer.Option(
            "--external-data", help="With --onnx: weights in a second file, as always for those above 2 GB."
        ),
    ] = False,
    storage: Storage = None,
) -> None:
    """Export a trained adapter as a folder that plain transformers and peft can load, or as ONNX.

    Examples:

        adaptertune export nuclei:best --to nuclei-lora
        adaptertune export nuclei:best --to nuclei-whole --merge
        adaptertune export nuclei:best --to nuclei-lora --push me/nuclei-lora
        adaptertune export nuclei:best --to nuclei-onnx --onnx

    The outputs of the exported model are compared with those of the trained one, and the largest difference
    is printed. docs/how-to/export.md describes the files, docs/reference/onnx.md what ONNX has a form for.
    \f
    ADAPTER is as for `evaluate`.
    """
    from tuning.cli.find_adapter import confirmed_answer, find_adapter

    if public and push is None:
        raise StorageError("--public is for the repository of --push; add --push REPO, or leave it out")
    if external_data and not onnx:
        raise typer.BadParameter(
            "says where the weights of an ONNX file are; add --onnx", param_hint="--external-data"
        )
    if onnx and push is not None:
        raise typer.BadParameter(
            "uploads adapters and models of transformers, no ONNX files; leave out one of --onnx and --push",
            param_hint="--push",
        )
    found, confirmed = find_adapter(adapter, storage), confirmed_answer(adapter, storage)
    if onnx:
        export_as_onnx(found, to, merge=merge, external_data=external_data, confirmed=confirmed)
    else:
        export_adapter(found, to, merge=merge, push=push, public=public, confirmed=confirmed)


def export_adapter(
    trained: TrainedAdapter,
    to: Path,
    *,
    merge: bool,
    push: str | None = None,
    public: bool = False,
    confirmed: str = "",
) -> None:
    """Write the adapter into `to`, check what was written, print what it is, and upload it if asked.

    merge: write a plain model also where an adapter could be written.  push: a repository of the hub.
    confirmed: as in the card.
    Raises StorageError for a folder that is not empty or a full disk, AdapterError, ModelError.
    """
    from trainables.export.push import check_push, push_export
    from trainables.export.write import ExportKind, export_model  # torch
    from tuning.cli.console import console, print_lines

    if push is not None:
        check_push(push)
    card = _card_of(trained, confirmed)
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


def export_as_onnx(
    trained: TrainedAdapter, to: Path, *, merge: bool, external_data: bool, confirmed: str = ""
) -> None:
    """Write the model as ONNX into `to`, check it with onnxruntime, and print what it is.

    merge: refuse a method that PEFT cannot merge.  external_data: the weights in a file of their own.
    confirmed: as in the card.
    Raises StorageError for a folder that is not empty or a full disk, AdapterError, ModelError.
    """
    from trainables.export.folder import check_empty
    from trainables.export.onnx.write import export_onnx, require_onnx
    from tuning.cli.console import console, print_lines

    require_onnx()  # before a model is loaded
    check_empty(to)
    card = _card_of(trained, confirmed)
    done = export_onnx(trained.load(), to, merge=merge, external_data=external_data, card=card)
    what = {None: "", True: ", the adapter merged", False: ", the adapter beside the weights"}[done.merged]
    sides = "of any size" if done.free_sizes else f"of {done.size[0]} by {done.size[1]} pixels"
    largest = ", ".join(f"{name} {value:.1e}" for name, value in done.differences.items())
    out = console()
    print_lines(out, f"{trained.title} in {done.folder}: an ONNX model{what}, {done.bytes / 1e6:.1f} MB")
    for name in done.files:
        print_lines(out, f"  {name}")
    print_lines(
        out,
        f"it takes a batch of any number of images {sides}",
        f"onnxruntime's outputs equal those of the trained model; largest differences: {largest}",
        "README.md has a program that reads it with onnxruntime and numpy, and says how it was made",
    )


def _card_of(trained: TrainedAdapter, confirmed: str) -> Card:
    """The recorded facts for the model card."""
    from trainables.export.card_facts import Card  # torch

    in_domain = {"in domain": trained.test} if trained.test else {}
    return Card(
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
        confirmed=confirmed,
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
