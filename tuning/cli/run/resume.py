"""The command `resume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import AdaptertuneError, ExperimentFileError, StorageError
from tuning.cli.completion import complete_file
from tuning.cli.options import Address, Name, Sets, Storage, ThenAblate

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment


def run_resume(
    name: Name,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="The total number of trials from now on, also of a finished sweep."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="The budget of epochs in all from now on (search.epochs), also of a finished sweep."
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="If another driver still runs it, that one stops.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The file of the experiment; an error if more than search.trials or search.epochs differs.",
            autocompletion=complete_file,
        ),
    ] = None,
    set_: Sets = None,
    move_data: Annotated[
        list[str] | None,
        typer.Option(
            "--move-data",
            metavar="OLD=NEW",
            help="Data that were below OLD are below NEW now, with the same content. Repeatable.",
        ),
    ] = None,
    address: Address = None,
    then_ablate: ThenAblate = None,
    storage: Storage = None,
) -> None:
    """Continue an experiment after Ctrl-C or a crash.

    Examples:

        adaptertune resume nuclei                       # after Ctrl-C, SIGTERM or a crash
        adaptertune resume nuclei --trials 60           # 60 in all, also of a finished sweep
        adaptertune resume nuclei --file nuclei.yaml    # as many trials as the file now has
        adaptertune resume nuclei --move-data /scratch/1=/scratch/2    # the data are elsewhere now
    \f
    - `--trials N`: the total number of trials from now on, at least as many as there are.
    - `--epochs N`: the budget of epochs of all trials together from now on, at least as many as were run; for
      an experiment that was launched with `search.epochs`.
    - `--retry-failed`: failed trials run again, from their checkpoints if there are any.
    - `--take-over`: a driver that still runs the experiment stops, writes nothing more and ends with exit
      code 2; this one waits until it has, or was silent for half a minute, and continues. Without it,
      `resume` is refused beside another driver. It is for a job that starts again while its first attempt
      may still be alive on a node that the scheduler no longer reaches; the jobs of `submit` use it.
    - `--file FILE`: compares the file with the experiment as it was started. If the file has more trials
      or epochs, that is as `--trials` or `--epochs`. If anything else differs, except the name, each key is
      shown as `was → is` and nothing runs. `--set` changes the file as for `launch`. Only paths of data may
      differ too: that is as `--move-data`, unless the experiment was recorded before content was part of the
      fingerprint.
    - `--move-data OLD=NEW`: images, masks, annotations, domains, a local copy of a hub data set and a local
      model whose paths were OLD or below it are read at NEW from now on, also by later commands. Their
      content is compared with that of the launch, except the model's; other content is refused, with the
      files that differ if the prepared data are still in the cache. Of an experiment that was recorded
      before content was part of the fingerprint, the prepared images are compared if the cache has them, or
      else the names and numbers of images and classes.
    - Data that have left the cache are prepared anew. If this version reads them otherwise than the one that
      launched the experiment (other numbers of images, boxes, crowds or faults, or other classes), that is
      refused; of a record without boxes it is said that boxes and masks cannot be compared.

    What is refused leaves the experiment as it was.

    For a finished sweep, plain `resume` trains nothing: it tries again to compute test scores that had
    failed, or else brings the views of docs/how-to/dashboards.md up to date, without Ray.

    A changed experiment is a new experiment: launch it under another name, with `search.from`
    (docs/reference/experiment-file.md) to learn from the trials that are finished.
    """
    from tuning.cli.run.run_with_progress import require_parameter, resume_sweep
    from tuning.experiment.moved_data import read_moves
    from tuning.ledger.header import experiment_of
    from tuning.ledger.ledger import read_header, read_history
    from tuning.ledger.storage import parse_reference, storage_folder

    reference = parse_reference(name, storage_folder(storage))
    if reference.trial is not None:
        raise StorageError("resume takes an experiment, not one of its trials")
    folder = reference.folder
    moves = read_moves(move_data, experiment_of(read_history(folder).header)) if move_data else {}
    if file is not None:
        wanted, moves = changes_of_file(file, set_ or [], folder, moves)
        trials = wanted.get("trials") if trials is None else trials
        epochs = wanted.get("epochs") if epochs is None else epochs
    elif set_:
        raise AdaptertuneError(
            "--set changes the file of --file; a resumed experiment stays as it was recorded"
        )
    if then_ablate is not None:
        require_parameter(then_ablate, experiment_of(read_header(folder)))
    result = resume_sweep(
        folder,
        trials=trials,
        epochs=epochs,
        retry_failed=retry_failed,
        take_over=take_over,
        address=address,
        move_data=moves,
    )
    from tuning.cli.ablations.confirm import confirm_as_asked
    from tuning.cli.conclusion import conclude_sweep  # numpy

    conclude_sweep(result, then_ablate, resumed=True)
    confirm_as_asked(folder, address)


def changes_of_file(
    file: str, overrides: Sequence[str], folder: Path, moves: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, str]]:
    """The number of `trials` and of `epochs` that a file asks for, where they are not the recorded ones; and
    `moves`, with those of its paths to data.

    Raises ExperimentFileError if anything else differs.
    """
    from tuning.experiment.differences import find_differences
    from tuning.experiment.load import load_experiment
    from tuning.experiment.moved_data import (
        data_paths,
        moves_between,
        plain_path,
        with_moved_data,
    )
    from tuning.ledger.header import experiment_of, says_nothing_of_packing
    from tuning.ledger.ledger import read_history
    from tuning.ledger.storage import shell_name

    history, now = read_history(folder), load_experiment(file, overrides)
    given = {plain_path(old): plain_path(new) for old, new in moves.items()}
    begun = with_moved_data(experiment_of(history.header), [given])
    asked = with_moved_data(now, [*history.moves, given])  # the file may still name the first place
    if says_nothing_of_packing(history.header) and "packing" not in now.resources.model_fields_set:
        resources = asked.resources.model_copy(update={"packing": begun.resources.packing})
        asked = asked.model_copy(update={"resources": resources})
    asked = _with_rule_as_recorded(asked, begun)
    changed = {difference.key: difference for difference in find_differences(begun, asked)}
    numbers = {"trials": asked.search.trials, "epochs": asked.search.epochs}
    wanted = {
        name: number
        for name, number in numbers.items()
        if number is not None and changed.pop(f"search.{name}", None) is not None
    }
    by_file: dict[str, str] = {}
    # Without content in its fingerprint, only names may be compared: that must be asked for with --move-data.
    if changed.keys() & data_paths(begun).keys() and not moves and begun.definitions.by_content:
        by_file = moves_between(begun, asked) or {}
        changed = {d.key: d for d in find_differences(with_moved_data(begun, [by_file]), asked)}
        for name in wanted:
            changed.pop(f"search.{name}", None)
    if not changed:
        return wanted, dict(moves) | by_file
    shown = "".join(f"\n  {difference}" for difference in changed.values())
    raise ExperimentFileError(
        f"{file} differs from what {begun.name} was started with, and only search.trials and search.epochs"
        f" may change:{shown}\n"
        f"Undo this, or launch it under another name with `search: {{from: [{shell_name(folder)}]}}`,"
        " which learns from the trials that are finished"
    )


def _with_rule_as_recorded(asked: Experiment, begun: Experiment) -> Experiment:
    """A file that names no rule of `asha`, now as at the launch, asks for the default of then."""
    now, then = asked.scheduler.asha, begun.scheduler.asha
    if now is None or then is None or "rule" in now.model_fields_set or "rule:" in begun.source_text:
        return asked
    asha = now.model_copy(update={"rule": then.rule})
    return asked.model_copy(update={"scheduler": asked.scheduler.model_copy(update={"asha": asha})})
