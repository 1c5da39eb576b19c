"""The command `submit`."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import AdaptertuneError, StorageError, SubmitError
from tuning.cli.completion import complete_experiment, complete_file
from tuning.cli.options import FILE_HELP, Sets, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from cluster.manifests.spec import Profile, SweepJob
    from tuning.experiment.spec import Experiment


def run_submit(
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="PROFILE",
            help="The profile: a file, or a name (see `adaptertune cluster profiles`).",
        ),
    ],
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help=FILE_HELP, autocompletion=complete_file)
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the job file; write and submit nothing.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Continue this experiment, in place of FILE.",
            autocompletion=complete_experiment,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the experiment, instead of the file's.")
    ] = None,
    set_: Sets = None,
    storage: Storage = None,
) -> None:
    """Submit an experiment to a cluster: Slurm, Kubernetes with KubeRay, or SkyPilot.

    The profile says what to ask the cluster for: nodes, CPUs, GPUs, memory, time. File and profile are
    checked first. The job file is kept in the storage folder, in `jobs`.

    Examples:

        adaptertune submit nuclei.yaml --on slurm-gpu --print     # look at the job file first
        adaptertune submit nuclei.yaml --on profiles/a100.yaml
        adaptertune submit --resume nuclei --on slurm-gpu         # continue it in a new job
    \f
    The job file holds the experiment as it is now, with absolute paths: a later change of FILE changes
    nothing. A job that is preempted, or of Slurm that reaches its time limit, starts again by itself and
    continues from what is saved; a finished sweep ends the job with exit code 0.

    How to write a profile, and what each scheduler does: docs/how-to/run-on-slurm.md,
    docs/how-to/run-on-kubernetes.md.
    """
    from cluster.manifests.spec import SlurmProfile
    from tuning.cli.cluster.profile_files import find_profile
    from tuning.cli.cluster.read_profile import read_profile
    from tuning.cli.cluster.submission import job_text, require_program, submit
    from tuning.cli.console import console, print_lines
    from tuning.ledger.storage import shell_name

    if (file is None) == (resume is None):
        raise AdaptertuneError("give either FILE, or --resume NAME for an experiment that exists")
    if resume is not None and (name is not None or set_):
        raise AdaptertuneError(
            "--resume continues an experiment as it was recorded, without --name and --set"
        )
    experiment = None if file is None else _new_experiment(file, set_ or [], name)
    profile = read_profile(find_profile(on))
    if not print_only:
        require_program(profile)
    job = _job(profile, experiment, resume, storage)
    if print_only:
        print_answer(job_text(profile, job), nl=False)
        return
    submitted = submit(profile, job)
    lines = [f"{job.name} is submitted as {submitted.job}", f"  job     {submitted.file}"]
    if isinstance(profile, SlurmProfile):
        known = shell_name(Path(job.storage) / job.name)
        lines += [
            f"  output  {submitted.file.parent}/slurm-*.txt",
            f"  watch   adaptertune status {known} --watch",
            f"  stop    adaptertune stop {known}",
        ]
    print_lines(console(), *lines, f"  queue   {submitted.follow}", f"  cancel  {submitted.cancel}")


def _new_experiment(file: str, overrides: list[str], name: str | None) -> Experiment:
    """The checked experiment of a file. Raises ExperimentFileError."""
    from tuning.cli.run.launch import load_sweep

    experiment = load_sweep(file, overrides, name=name, trials=None)
    if experiment.search.optuna is not None:
        from tuning.search.sampler_check import check_sampler  # optuna

        check_sampler(experiment, file)
    return experiment


def _job(profile: Profile, experiment: Experiment | None, resume: str | None, given: Path | None) -> SweepJob:
    """The job of a new experiment, or of one to resume. Raises StorageError if there is one, or none."""
    from cluster.manifests.spec import SlurmProfile, SweepJob
    from tuning.ledger.storage import new_job_folder, parse_reference, refuse_existing, storage_folder

    shared = isinstance(profile, SlurmProfile)  # nodes see the same folder as this machine
    here = storage_folder(given if given is not None or not shared else profile.storage).absolute()
    programs = ""
    if isinstance(profile, SlurmProfile):
        programs = f"{profile.environment}/bin" if profile.environment else own_programs()
    if experiment is None:
        assert resume is not None
        if shared:
            reference = parse_reference(resume, here)
            if reference.trial is not None:
                raise StorageError("--resume takes an experiment, not one of its trials")
            here, resume = reference.folder.parent, reference.folder.name
        elif not re.fullmatch(r"[A-Za-z0-9][\w.-]*", resume, re.ASCII):
            raise StorageError(
                f"--resume takes the name of an experiment on the cluster's storage, got '{resume}'"
            )
        name, text = resume, None
    else:
        name, text = experiment.name, _text(experiment)
        if shared:
            refuse_existing(here / name, name)
            if experiment.confirm is not None:
                from tuning.cli.ablations.confirm import require_free_name

                require_free_name(experiment, here)
    folder = new_job_folder(here, name)
    seen = str(here) if shared else str(profile.storage)
    return SweepJob(name=name, storage=seen, experiment=text, folder=str(folder), programs=programs)


def own_programs() -> str:
    """The folder of this environment's `python`, `ray` and `adaptertune`. Raises SubmitError without them."""
    folder = Path(sysconfig.get_path("scripts"))
    missing = [name for name in ("python", "ray", "adaptertune") if not (folder / name).exists()]
    if missing:
        raise SubmitError(
            f"{folder} has no {' and no '.join(missing)}; name an environment in which adaptertune is"
            " installed with the profile's key environment"
        )
    return str(folder)


def _text(experiment: Experiment) -> str:
    """The experiment as the text of a file with absolute paths, which gives back an equal experiment."""
    from tuning.experiment.load import experiment_of_text
    from tuning.experiment.write import document_of
    from tuning.experiment.yaml_lines import dump_yaml

    text = dump_yaml(document_of(experiment))
    again = experiment_of_text(text, experiment.name)
    same = again.model_copy(update={"source_text": experiment.source_text}) == experiment
    if not same:
        raise RuntimeError(f"the experiment {experiment.name} cannot be written as one file")
    return text
