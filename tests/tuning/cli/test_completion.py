"""Completion as a shell requests it, with the variables that the scripts of the shells set."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer
from recorded import LORA, Told, write

from search_spaces.catalog import shipped_experiments
from tuning.checkpoints import trained_adapter
from tuning.cli import completion
from tuning.cli.app import COMMANDS, app
from tuning.cli.bash_completion import answer_completion
from tuning.ledger import ledger
from tuning.ledger import storage as ledger_storage

ROOT = Path(__file__).parents[3]
PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import main; main()"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments `cells` and `digits`, folders of trials, a run of `train`, and folders of other kinds."""
    root = tmp_path_factory.mktemp("storage")
    write(root / "digits")
    write(root / "cells", (Told(LORA, (0.4,)),))
    for number in (0, 1, 12):
        (root / "digits" / "trials" / f"{number:04d}").mkdir(parents=True)
    (root / "trained" / "solo").mkdir(parents=True)
    (root / "dissertation").mkdir()
    (root / "mine.yaml").touch()
    return root


def ask(shell: str, storage: Path, **variables: str) -> list[str]:
    """The lines that a process of the command prints when a shell requests completions."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=storage,
        env=os.environ
        | {"_ADAPTERTUNE_COMPLETE": f"complete_{shell}", "ADAPTERTUNE_STORAGE": str(storage)}
        | variables,
    )
    assert not done.stderr
    return done.stdout.splitlines()


def bash(storage: Path, *words: str, cwd: Path | None = None, **variables: str) -> list[str]:
    """What bash gets for the last word, in this process; words are split as with its COMP_WORDBREAKS."""
    typed = "\n".join(("adaptertune", *words))
    environment = {
        "_ADAPTERTUNE_COMPLETE": "complete_bash",
        "ADAPTERTUNE_STORAGE": str(storage),
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count("\n")),
    }
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.chdir(cwd or storage)
        for name, value in (environment | variables).items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit):
            answer_completion(lambda: app(prog_name="adaptertune"))
    return out.getvalue().splitlines()


# --- bash -------------------------------------------------------------------------------------


def test_commands_and_options_are_completed(storage: Path) -> None:
    assert bash(storage, "") == list(COMMANDS)
    assert bash(storage, "ab") == ["ablate", "ablation"]
    assert bash(storage, "best", "--ea") == ["--early-stopped"]
    assert "--supervise" in bash(storage, "launch", "--")
    assert bash(storage, "report", "digits", "--format", "") == ["html", "markdown"]
    assert bash(storage, "ablate", "digits", "--study", "f") == ["freezing"]
    assert "--version" in bash(storage, "--")


@pytest.mark.parametrize(
    "command", ["best", "query", "resume", "status", "domains", "importance", "pareto", "report", "ablation"]
)
def test_experiments_are_completed(storage: Path, command: str) -> None:
    assert bash(storage, command, "") == ["cells", "digits"]
    assert bash(storage, command, "di") == ["digits"]


@pytest.mark.parametrize("command", ["logs", "ablate", "compare"])
def test_trials_are_completed_after_a_colon(storage: Path, command: str) -> None:
    assert bash(storage, command, "d") == ["digits", "digits:best"]
    # bash splits `digits:` and `digits:1` at the colon, and replaces what follows it.
    assert bash(storage, command, "digits", ":") == ["best", "0", "1", "12"]
    assert bash(storage, command, "digits", ":", "1") == ["1", "12"]
    assert bash(storage, command, "digits", ":", "b") == ["best"]
    assert bash(storage, command, "digits:1") == ["digits:1", "digits:12"]


def test_the_second_of_two_trials_and_that_of_an_option_are_completed(storage: Path) -> None:
    assert bash(storage, "compare", "digits", ":", "0", "ce") == ["cells", "cells:best"]
    assert bash(storage, "train", "--from", "digits", ":", "b") == ["best"]
    assert bash(storage, "train", "--from", "=", "digits", ":", "b") == ["best"]


def test_stop_takes_no_best(storage: Path) -> None:
    assert bash(storage, "stop", "d") == ["digits"]
    assert bash(storage, "stop", "digits", ":") == ["0", "1", "12"]


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_trained_adapters_are_completed(storage: Path, command: str) -> None:
    assert bash(storage, command, "") == ["cells", "digits", "solo"]
    assert bash(storage, command, "s") == ["solo"]
    assert bash(storage, command, "cells", ":") == ["best"]


@pytest.mark.parametrize("command", ["validate", "launch", "train"])
def test_shipped_files_and_those_here_are_completed(storage: Path, command: str) -> None:
    names = sorted(file.name for file in shipped_experiments())
    assert bash(storage, command, "") == [*names, "mine.yaml"]
    assert bash(storage, command, "quick") == ["quickstart"]
    assert bash(storage, command, "m") == ["mask_folder", "mine.yaml"]
    assert bash(storage, "resume", "digits", "--file", "mi") == ["mine.yaml"]


def test_the_storage_of_the_option_counts(storage: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    for option in (("--storage", str(tmp_path)), ("--storage", "=", str(tmp_path))):
        assert bash(storage, "best", *option, "") == ["elsewhere"]
    write(tmp_path / "experiments" / "usual")
    assert bash(storage, "best", "", cwd=tmp_path, ADAPTERTUNE_STORAGE="") == ["usual"]


@pytest.mark.parametrize("words", [("best", "digits", ""), ("best", "x"), ("logs", "nothing", ":")])
def test_where_there_is_nothing_to_offer_nothing_is_printed(storage: Path, words: tuple[str, ...]) -> None:
    assert [line for line in bash(storage, *words) if line] == []


def test_a_process_answers(storage: Path) -> None:
    for words, expected in (
        (("ablat",), ["ablate", "ablation"]),
        (("best", "--ea"), ["--early-stopped"]),
        (("logs", "digits", ":", "b"), ["best"]),
        (("launch", "quick"), ["quickstart"]),
    ):
        typed = "\n".join(("adaptertune", *words))
        assert ask("bash", storage, COMP_WORDS=typed, COMP_CWORD=str(len(words))) == expected


def test_the_script_of_bash_completes_names(storage: Path, tmp_path: Path) -> None:
    """The script that `--install-completion` writes, in bash itself."""
    program = tmp_path / "adaptertune"
    program.write_text(f"#!{sys.executable} -P\n{PROGRAM}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ADAPTERTUNE_STORAGE": str(storage),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = subprocess.run(
        [str(program), "--show-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    typed = "COMP_WORDS=(adaptertune logs digits : 1); COMP_CWORD=4; _adaptertune_completion adaptertune\n"
    done = subprocess.run(
        ["bash", "--norc", "-c", f'{script}\n{typed}printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "12"]


# --- other shells -----------------------------------------------------------------------------


def test_zsh_gets_names_with_help(storage: Path) -> None:
    (answer,) = ask("zsh", storage, _TYPER_COMPLETE_ARGS="adaptertune logs digits:b")
    assert answer == r"""_arguments '*: :(("digits\\:best"))'"""
    answer = "\n".join(ask("zsh", storage, _TYPER_COMPLETE_ARGS="adaptertune launch quick"))
    (file,) = (file for file in shipped_experiments() if file.name == "quickstart")
    assert '"quickstart":"' in answer
    assert file.headline[:60] in answer


def test_fish_gets_a_line_each(storage: Path) -> None:
    lines = ask(
        "fish",
        storage,
        _TYPER_COMPLETE_ARGS="adaptertune evaluate digits:",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert lines == ["digits:best", "digits:0", "digits:1", "digits:12"]


# --- never in the way -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("best", "d"), ("logs", "digits", ":"), ("launch", "q"), ("evaluate", ""), ("ablate", "--")]
)
def test_completing_imports_nothing_heavy(storage: Path, words: tuple[str, ...], tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "peft", "ray", "optuna", "matplotlib", "scipy", "pandas", "pyarrow")
    found = tmp_path / "found"
    program = (
        f"import atexit, sys; atexit.register(lambda: open({str(found)!r}, 'w').write("
        f"' '.join(m for m in {heavy} if m in sys.modules)))\n{PROGRAM}"
    )
    typed = "\n".join(("adaptertune", *words))
    variables = {
        "_ADAPTERTUNE_COMPLETE": "complete_bash",
        "ADAPTERTUNE_STORAGE": str(storage),
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, env=os.environ | variables
    )
    assert done.stdout.strip()
    assert found.read_text() == ""


def test_the_functions_themselves_import_no_models() -> None:
    code = (
        "import sys; import tuning.cli.completion;"
        " print([m for m in ('pydantic', 'rich.console') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Unusable:
    """A context that fails at any use."""

    @property
    def params(self) -> dict[str, object]:
        raise RuntimeError("no parameters")


@pytest.mark.parametrize(
    "complete",
    [
        completion.complete_experiment,
        completion.complete_trial,
        completion.complete_trial_number,
        completion.complete_adapter,
    ],
)
def test_an_error_offers_nothing(complete: object) -> None:
    context: typer.Context = Unusable()  # type: ignore[assignment]
    assert complete(context, "d") == []  # type: ignore[operator]


def test_an_error_with_files_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("unreadable")

    monkeypatch.setattr("search_spaces.catalog.shipped_experiments", fail)
    assert completion.complete_file("q") == []


def test_its_constants_are_those_of_the_modules_that_it_does_not_import() -> None:
    assert completion.STORAGE_VARIABLE == ledger_storage.VARIABLE
    assert Path(completion.DEFAULT_STORAGE) == ledger_storage.DEFAULT
    assert completion.BEST == ledger_storage.BEST
    assert completion.LEDGER == ledger.LEDGER
    assert completion.TRAINED == trained_adapter.TRAINED
    assert ledger_storage.trial_folder(Path(), 3) == Path(completion.TRIALS) / "0003"
