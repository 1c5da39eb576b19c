"""The command line: the table of commands, and the entry point.

A command's module is imported only when that command runs, completes a word or shows its help. For help and
completion its signature is enough. So at its top, the module imports what the signature needs, without
pydantic and our models; a function imports what its body needs.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_command

from tuning.cli.bash_completion import VARIABLE, answer_completion
from tuning.cli.errors import ErrorReportingGroup
from tuning.messages import print_answer


class CommandEntry(NamedTuple):
    """A command of the table. Its function is `run_NAME` in `module`."""

    module: str
    panel: str
    help: str
    """The first line of the function's docstring."""


FILES, RUN, CLUSTER, RESULTS = "Experiment files", "Run", "Cluster", "Results"
ABLATIONS, ADAPTERS = "Ablations", "Trained adapters"

COMMANDS = {
    "validate": CommandEntry(
        "tuning.cli.files.validate", FILES, "Check an experiment file and report all errors at once."
    ),
    "inspect": CommandEntry(
        "tuning.cli.files.inspect",
        FILES,
        "Look at data before any training: what they are, what is wrong with them, and pictures of them.",
    ),
    "schema": CommandEntry(
        "tuning.cli.files.schema",
        FILES,
        "Print the JSON Schema of experiment files, for completion in an editor.",
    ),
    "spaces": CommandEntry(
        "tuning.cli.files.spaces",
        FILES,
        "List the experiment files that ship, or print one of them.",
    ),
    "launch": CommandEntry(
        "tuning.cli.run.launch", RUN, "Run an experiment: search for the best configuration."
    ),
    "resume": CommandEntry("tuning.cli.run.resume", RUN, "Continue an experiment after Ctrl-C or a crash."),
    "train": CommandEntry(
        "tuning.cli.run.train", RUN, "Train one configuration on this machine, without Ray."
    ),
    "status": CommandEntry(
        "tuning.cli.run.status",
        RUN,
        "Show the progress of an experiment: trials by state, running trials, the best so far, failures.",
    ),
    "list": CommandEntry("tuning.cli.run.list", RUN, "List the experiments under --storage."),
    "logs": CommandEntry(
        "tuning.cli.run.logs",
        RUN,
        "Print the log of a trial, with tracebacks; without a trial, the log of the driver.",
    ),
    "stop": CommandEntry(
        "tuning.cli.run.stop",
        RUN,
        "Stop a running experiment or one of its trials; everything recorded is kept.",
    ),
    "pause": CommandEntry(
        "tuning.cli.run.pause",
        RUN,
        "Let a running experiment, or one of its trials, wait without workers until `unpause`.",
    ),
    "unpause": CommandEntry(
        "tuning.cli.run.unpause",
        RUN,
        "Let a paused experiment, or a paused trial, continue from where it was.",
    ),
    "add": CommandEntry(
        "tuning.cli.run.add", RUN, "Add a configuration of your own to an experiment, as one more trial."
    ),
    "clone": CommandEntry(
        "tuning.cli.run.clone", RUN, "Add a changed copy of a trial to an experiment, as one more trial."
    ),
    "extend": CommandEntry(
        "tuning.cli.run.extend",
        RUN,
        "Continue a trial that has ended for more epochs, as one more trial.",
    ),
    "repair": CommandEntry(
        "tuning.cli.run.repair",
        RUN,
        "Write a valid copy of an experiment whose record is damaged, and say what it leaves out.",
    ),
    "serve": CommandEntry(
        "tuning.cli.run.serve",
        RUN,
        "Serve a live page of one or several experiments: curves, trials, failures, costs, and actions.",
    ),
    "submit": CommandEntry(
        "tuning.cli.cluster.submit",
        CLUSTER,
        "Submit an experiment to a cluster: Slurm, Kubernetes with KubeRay, or SkyPilot.",
    ),
    "cluster": CommandEntry(
        "tuning.cli.cluster.cluster",
        CLUSTER,
        "Check the nodes of a cluster before a sweep; or list the profiles for `adaptertune submit`.",
    ),
    "best": CommandEntry(
        "tuning.cli.results.best", RESULTS, "Rank the trials of one or several experiments."
    ),
    "query": CommandEntry(
        "tuning.cli.results.query", RESULTS, "Query the records of one or several experiments in SQL."
    ),
    "domains": CommandEntry(
        "tuning.cli.results.domains",
        RESULTS,
        "Show test metrics of the best trials, in domain and under shift, for each adapter.",
    ),
    "importance": CommandEntry(
        "tuning.cli.results.importance",
        RESULTS,
        "Rank the settings of a sweep by importance (PED-ANOVA), with their interactions (observational).",
    ),
    "fidelity": CommandEntry(
        "tuning.cli.results.fidelity",
        RESULTS,
        "Show whether smaller images put trials in the order of images of the model's own size.",
    ),
    "pareto": CommandEntry(
        "tuning.cli.results.pareto",
        RESULTS,
        "Show the Pareto front: quality against parameters, training time, memory or latency.",
    ),
    "report": CommandEntry(
        "tuning.cli.results.report",
        RESULTS,
        "Write a report of an experiment on one page: best trials, ablations, importance, costs, charts.",
    ),
    "confirm": CommandEntry(
        "tuning.cli.ablations.confirm",
        ABLATIONS,
        "Repeat the best trials of a search over new seeds, and say which of them to take.",
    ),
    "ablate": CommandEntry(
        "tuning.cli.ablations.ablate",
        ABLATIONS,
        "Run a designed experiment: vary one factor of the best configuration, repeated over seeds.",
    ),
    "ablation": CommandEntry(
        "tuning.cli.ablations.ablation",
        ABLATIONS,
        "Show the result of `ablate`; with --by, what the trials of a sweep suggest (observational).",
    ),
    "compare": CommandEntry(
        "tuning.cli.ablations.compare",
        ABLATIONS,
        "Compare two experiments or two trials: their settings and their results.",
    ),
    "evaluate": CommandEntry(
        "tuning.cli.adapters.evaluate",
        ADAPTERS,
        "Score a trained adapter on test images, in domain and under shift, next to its pretrained baseline.",
    ),
    "predict": CommandEntry(
        "tuning.cli.adapters.predict",
        ADAPTERS,
        "Draw the predictions of a trained adapter on images: boxes or masks, each with a JSON file.",
    ),
    "export": CommandEntry(
        "tuning.cli.adapters.export",
        ADAPTERS,
        "Export a trained adapter as a folder that plain transformers and peft can load, or as ONNX.",
    ),
}


class CommandTable(ErrorReportingGroup):
    """The commands of `COMMANDS`.

    `list_commands` and `get_command` give entries with name, help and panel, enough for `--help`, completion
    of names, and suggestions after a typo. `resolve_command`, which Typer calls to run a command, to show
    its help or to complete its words, imports the module.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=entry.help, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that `args` begin with, and import it."""
        name, entry, rest = super().resolve_command(ctx, args)
        return name, entry if name is None or entry is None else load_command(name), rest


def load_command(name: str) -> TyperCommand:
    """A command with its arguments and options; imports its module."""
    function = command_function(name)
    single = typer.Typer(add_completion=False)
    single.command(name, help=_help(function), rich_help_panel=COMMANDS[name].panel)(function)
    command = get_command(single)
    assert isinstance(command, TyperCommand)
    return command


def command_function(name: str) -> Callable[..., None]:
    """The function of a command; imports its module."""
    function: Callable[..., None] = getattr(import_module(COMMANDS[name].module), f"run_{name}")
    return function


def _help(function: Callable[..., None]) -> str:
    """The part of a docstring that `--help` shows, which is Markdown, as text that Typer prints as it is.

    It ends at a form feed. Lines of a paragraph are joined, so that the terminal breaks them, but not those
    of lists and of indented examples.
    """
    text, _, _ = inspect.cleandoc(function.__doc__ or "").partition("\f")
    paragraphs = [
        paragraph if paragraph.startswith(("    ", "- ")) else paragraph.replace("\n", " ")
        for paragraph in text.strip().split("\n\n")
    ]
    text = "\n\n".join(paragraphs)
    if "[" in text:
        from rich.markup import escape

        return escape(text)
    return text


def _print_version(ctx: typer.Context, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from tuning.cli.version import version_lines

        print_answer("\n".join(version_lines()))
        raise typer.Exit


app = typer.Typer(
    name="adaptertune",
    cls=CommandTable,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find the best adapter for a vision transformer: distributed sweeps on Ray, from one YAML file.",
)


@app.callback()
def take_global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the versions of adaptertune, Python and the main libraries, and exit.",
        ),
    ] = False,
) -> None:
    """Take the options before the command. `--version` has ended the process by then."""


def main() -> None:
    """Run the `adaptertune` command: its entry point."""
    # What imports create lives as long as the process; collecting it again and again takes a tenth of the
    # time of an answer. An answer with all imports creates 50 000 objects, and one collection takes 20 ms.
    gc.set_threshold(100_000)
    # Collecting it at exit takes another tenth. What must be closed is closed by its owner; `atexit` and the
    # clearing of modules remain. Registered first, so called last.
    atexit.register(gc.freeze)
    # To find plugins of others, pydantic would read the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if VARIABLE in os.environ:
        answer_completion(lambda: app(prog_name="adaptertune"))
    else:
        app(prog_name="adaptertune")
