"""The command `submit`, with programs that stand for those of the schedulers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import TRIALS, write
from typer.testing import Result

from search_spaces.catalog import shipped_experiments
from tuning.cli.cluster.submit import _text
from tuning.experiment.load import load_experiment

Run = Callable[..., Result]
EXPERIMENT = """\
name: nuclei
task: segmentation
data: {masks: {train: {images: pictures, masks: masks}, classes: [background, cell]}}
objective: {metric: dice}
space:
  adapter: {choice: [lora, loha]}
  learning_rate: {float: [1e-4, 1e-2], log: true}
search: {trials: 8}
"""
PROFILE = "scheduler: slurm\nnodes: 2\ncpus: 4\nwall_time: 1h\n"


@pytest.fixture
def sweep() -> str:
    """An experiment file in the current folder, and a profile named mine."""
    Path("nuclei.yaml").write_text(EXPERIMENT)
    Path("profiles").mkdir()
    Path("profiles/mine.yaml").write_text(PROFILE)
    return "nuclei.yaml"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole search path of programs, besides the system's shell."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    """A program that keeps its arguments, then runs the script; returns the file of the arguments."""
    kept = folder / f"{name}.arguments"
    (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {kept}\n{script}\n')
    (folder / name).chmod(0o755)
    return kept


def written_experiment(script: str, folder: Path) -> Path:
    """The experiment file that a Slurm script writes."""
    above = script.partition("# The same for every sweep")[0]
    done = subprocess.run(["/bin/bash", "-c", f"{above}\nwrite_experiment"], capture_output=True, check=True)
    file = folder / "again.yaml"
    file.write_bytes(done.stdout)
    return file


# --- what is submitted ------------------------------------------------------------------------


def test_print_writes_and_submits_nothing(run: Run, sweep: str, storage: Path, programs: Path) -> None:
    script = run("submit", sweep, "--on", "mine", "--print").stdout
    assert script.startswith("#!/bin/bash\n#SBATCH --job-name=nuclei\n")
    assert not (storage / "jobs").exists()


def test_the_job_holds_the_experiment_with_overrides_and_absolute_paths(
    run: Run, sweep: str, tmp_path: Path
) -> None:
    options = ("--name", "other", "--set", "search.trials=3", "--set", "trial.epochs=2")
    script = run("submit", sweep, "--on", "mine", "--print", *options).stdout
    again = load_experiment(written_experiment(script, tmp_path))
    asked = load_experiment(sweep, ["name=other", "search.trials=3", "trial.epochs=2"])
    assert again.model_copy(update={"source_text": ""}) == asked.model_copy(update={"source_text": ""})
    assert str(Path.cwd() / "pictures") in script


@pytest.mark.parametrize("name", [file.name for file in shipped_experiments() if file.searches])
def test_every_shipped_experiment_can_be_written_as_one_file(name: str) -> None:
    assert _text(load_experiment(name))


def test_the_job_file_is_kept_and_given_to_sbatch(
    run: Run, sweep: str, storage: Path, programs: Path
) -> None:
    kept = program(programs, "sbatch", "echo '4711;cluster'")
    said = run("submit", sweep, "--on", "mine").stdout
    file = storage.absolute() / "jobs" / "nuclei-1" / "job.sh"
    assert kept.read_text().split() == ["--parsable", str(file)]
    assert "nuclei is submitted as job 4711" in said
    for line in (f"job     {file}", "queue   squeue --jobs 4711", "cancel  scancel 4711"):
        assert line in said
    assert f"#SBATCH --output={file.parent}/slurm-%j.txt" in file.read_text()
    # The next one gets a folder of its own: the first may still wait in the queue.
    assert "jobs/nuclei-2/job.sh" in run("submit", sweep, "--on", "mine").stdout


def test_the_environment_and_the_storage_are_the_profiles(run: Run, sweep: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    Path("profiles/mine.yaml").write_text(PROFILE + f"storage: {shared}\nenvironment: /opt/env\n")
    script = run("submit", sweep, "--on", "mine", "--print").stdout
    assert f"\nstorage={shared}\n" in script
    assert "\nprograms=/opt/env/bin\n" in script
    script = run("submit", sweep, "--on", "mine", "--print", "--storage", str(tmp_path / "own")).stdout
    assert f"\nstorage={tmp_path}/own\n" in script


def test_an_experiment_is_continued_by_name_or_path(run: Run, sweep: str, storage: Path) -> None:
    for name in ("digits", str(storage / "digits")):
        script = run("submit", "--resume", name, "--on", "mine", "--print").stdout
        assert re.search(rf"^name=digits\nnew=0 .*\nstorage={storage.absolute()}$", script, re.M)


# --- what is refused, before anything is written ----------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give either FILE, or --resume NAME"),
        (("nuclei.yaml", "--resume", "digits"), "give either FILE, or --resume NAME"),
        (("--resume", "digits", "--set", "trial.epochs=2"), "without --name and --set"),
        (("--resume", "digits", "--name", "other"), "without --name and --set"),
        (("--resume", "absent"), "no experiment 'absent'"),
        (("absent.yaml",), "there is no file absent.yaml"),
        (("nuclei.yaml", "--set", "trial.epoch=2"), "did you mean 'epochs'"),
        (("nuclei.yaml", "--name", "a b"), "is used as a folder name"),
    ],
)
def test_a_wrong_call_is_refused(
    run: Run, sweep: str, storage: Path, programs: Path, words: tuple[str, ...], said: str
) -> None:
    kept = program(programs, "sbatch", "echo 1")
    assert said in run("submit", *words, "--on", "mine", code=2).stderr
    assert not kept.exists()
    assert not (storage / "jobs").exists()


def test_a_wrong_profile_is_refused_with_its_lines(run: Run, sweep: str, storage: Path) -> None:
    Path("profiles/mine.yaml").write_text(PROFILE + "node: 3\nmemory: 64GB\n")
    said = run("submit", sweep, "--on", "mine", code=2).stderr
    assert "profiles/mine.yaml: 2 errors" in said
    assert re.search(r"line 5 +node +unknown key; did you mean 'nodes'", said)
    assert "no profile absent" in run("submit", sweep, "--on", "absent", code=2).stderr
    assert "Missing option '--on'" in run("submit", sweep, code=2).stderr
    assert not (storage / "jobs").exists()


def test_a_name_that_is_taken_and_one_trial_are_refused(run: Run, sweep: str, storage: Path) -> None:
    write(storage / "nuclei", TRIALS)
    assert "already exists" in run("submit", sweep, "--on", "mine", "--print", code=2).stderr
    said = run("submit", "--resume", "nuclei:0", "--on", "mine", "--print", code=2).stderr
    assert "not one of its trials" in said


def test_a_missing_program_is_said_before_anything_is_written(
    run: Run, sweep: str, storage: Path, programs: Path
) -> None:
    said = run("submit", sweep, "--on", "mine", code=2).stderr
    assert "sbatch is not on this machine" in said
    assert "--print" in said
    assert not (storage / "jobs").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'sbatch: error: invalid partition' >&2; exit 1", "(exit code 1): sbatch: error: invalid"),
        ("exit 3", "(exit code 3): no reason given"),
        ("echo hello", "printed no job number but 'hello'"),
    ],
)
def test_what_sbatch_says_is_passed_on(
    run: Run, sweep: str, programs: Path, storage: Path, script: str, said: str
) -> None:
    program(programs, "sbatch", script)
    assert said in run("submit", sweep, "--on", "mine", code=2).stderr


def test_a_folder_that_cannot_be_written_is_said(run: Run, sweep: str, programs: Path) -> None:
    program(programs, "sbatch", "echo 1")
    Path("file").write_text("")
    said = run("submit", sweep, "--on", "mine", "--storage", "file", code=2).stderr
    assert "use --storage DIR for another folder" in said


# --- the other schedulers ---------------------------------------------------------------------

KUBERAY = "scheduler: kuberay\ncpus: 4\nmemory: 8GiB\nimage: a/b:1\nclaim: c\nstorage: /experiments\n"
SKYPILOT = "scheduler: skypilot\ncpus: 4\nstorage: /experiments\n"


def test_kubectl_creates_the_manifest(run: Run, sweep: str, storage: Path, programs: Path) -> None:
    Path("profiles/mine.yaml").write_text(KUBERAY + "namespace: team\n")
    kept = program(programs, "kubectl", "echo created")
    said = run("submit", sweep, "--on", "mine").stdout
    file = storage.absolute() / "jobs" / "nuclei-1" / "rayjob.yaml"
    assert kept.read_text().split() == ["create", "--filename", str(file)]
    assert "nuclei is submitted as RayJob nuclei-1" in said
    assert "queue   kubectl get rayjob nuclei-1 --namespace team --watch" in said
    assert f"cancel  kubectl delete --filename {file}" in said
    assert "name: nuclei" in file.read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", ["launch", "--cluster", "nuclei-1"]),
        ("spot: true\n", ["jobs", "launch", "--name", "nuclei-1"]),
    ],
)
def test_sky_launches_the_task_with_a_token_of_its_own(
    run: Run, sweep: str, storage: Path, programs: Path, more: str, words: list[str]
) -> None:
    Path("profiles/mine.yaml").write_text(SKYPILOT + more)
    token = programs / "token"
    kept = program(programs, "sky", f'printf "%s\\n" "$RAY_AUTH_TOKEN" >> {token}')
    for _ in range(2):
        run("submit", sweep, "--on", "mine")
    file = storage.absolute() / "jobs" / "nuclei-2" / "task.yaml"
    second = [word.replace("nuclei-1", "nuclei-2") for word in words]
    assert kept.read_text().split() == [
        *second, "--yes", "--detach-run", "--secret", "RAY_AUTH_TOKEN", str(file),
    ]  # fmt: skip
    first, other = token.read_text().split()
    assert len(first) == len(other) == 64
    assert first != other
    assert first not in file.read_text()


@pytest.mark.parametrize(("profile", "name"), [(KUBERAY, "kubectl"), (SKYPILOT, "sky")])
def test_a_missing_program_of_another_scheduler_is_said(
    run: Run, sweep: str, storage: Path, programs: Path, profile: str, name: str
) -> None:
    Path("profiles/mine.yaml").write_text(profile)
    assert f"{name} is not on this machine" in run("submit", sweep, "--on", "mine", code=2).stderr
    program(programs, name, "echo refused >&2; exit 1")
    said = run("submit", sweep, "--on", "mine", code=2).stderr
    assert f"{name} refuses the job (exit code 1): refused" in said


def test_names_of_a_cluster_are_not_looked_up_here(run: Run, sweep: str, storage: Path) -> None:
    """The experiments are on the cluster's storage, so one of this name here says nothing."""
    Path("profiles/mine.yaml").write_text(KUBERAY)
    write(storage / "nuclei", TRIALS)
    assert "name=nuclei" in run("submit", sweep, "--on", "mine", "--print").stdout
    assert "new=0" in run("submit", "--resume", "there", "--on", "mine", "--print").stdout


def test_an_experiment_that_a_manifest_cannot_hold_is_refused(
    run: Run, sweep: str, storage: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("profiles/mine.yaml").write_text(KUBERAY)
    program(programs, "kubectl", "true")
    monkeypatch.setattr("cluster.manifests.kuberay.LARGEST_EXPERIMENT", 10)
    said = run("submit", sweep, "--on", "mine", code=2).stderr
    assert "a manifest can hold at most 10" in said
    assert not (storage / "jobs").exists()
