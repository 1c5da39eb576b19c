"""The table of commands, the options before a command, and what a process imports."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ablations import ran
from marks import slow
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.cli import app as cli
from tuning.cli.app import COMMANDS, command_function

ROOT = Path(__file__).parents[3]
PANELS = {
    "Experiment files": "files",
    "Run": "run",
    "Cluster": "cluster",
    "Results": "results",
    "Ablations": "ablations",
    "Trained adapters": "adapters",
}
"""The panels of `--help` in their order, each with its subpackage."""


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_an_entry_is_the_first_line_of_the_docstring(name: str) -> None:
    first, _, _ = inspect.cleandoc(command_function(name).__doc__ or "").partition("\n")
    assert COMMANDS[name].help == first


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_file_of_its_own_in_the_subpackage_of_its_panel(name: str) -> None:
    entry = COMMANDS[name]
    assert entry.module == f"tuning.cli.{PANELS[entry.panel]}.{name}"
    assert command_function(name).__module__ == entry.module


def test_the_table_has_every_command() -> None:
    """A command is a file with a function `run_` and the file's name."""
    found = {
        path.stem
        for folder in PANELS.values()
        for path in (ROOT / "tuning" / "cli" / folder).glob("*.py")
        if f"\ndef run_{path.stem}(" in path.read_text()
    }
    assert found == set(COMMANDS)
    assert len(found) == 34


def test_help_shows_the_commands_in_panels(run: Callable[..., Result]) -> None:
    text = run("--help").stdout
    places = [text.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert list(dict.fromkeys(entry.panel for entry in COMMANDS.values())) == list(PANELS)
    for name, entry in COMMANDS.items():
        assert f"│ {name:<11} {entry.help}" in text


def test_the_help_of_a_command_is_its_docstring_up_to_the_form_feed(run: Callable[..., Result]) -> None:
    text = run("evaluate", "--help").stdout
    assert "evaluate [OPTIONS]" in text
    assert "     adaptertune evaluate nuclei:best --domain noise:3 --domain stained" in text
    assert "`relative` is" in text
    assert "fingerprint" not in text  # of the reference only
    assert "--untouched" in text


def test_brackets_of_a_docstring_are_no_markup(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_schema() -> None:
        """Print [x, y] and `rows[].key`."""

    monkeypatch.setattr("tuning.cli.files.schema.run_schema", run_schema)
    assert "Print [x, y] and `rows[].key`." in run("schema", "--help").stdout


@pytest.mark.parametrize(("typo", "name"), [("bset", "best"), ("lauch", "launch"), ("prdict", "predict")])
def test_a_typo_gets_a_suggestion(run: Callable[..., Result], typo: str, name: str) -> None:
    assert f"No such command '{typo}'. Did you mean '{name}'?" in run(typo, code=2).stderr


def test_without_a_command_there_is_the_help(run: Callable[..., Result]) -> None:
    assert "Experiment files" in run(code=2).output


def test_a_format_that_a_command_does_not_take_is_an_error_that_lists_those_it_takes(
    run: Callable[..., Result],
) -> None:
    said = run("report", "digits", "--format", "yaml", code=2).stderr
    assert "'yaml' is not one of 'html', 'markdown'" in said
    said = run("best", "digits", "--format", "html", code=2).stderr
    assert "'html' is not one of 'table', 'json', 'yaml', 'csv', 'parquet'" in said


# --- whole processes --------------------------------------------------------------------------


HEAVY = (
    "torch",
    "transformers",
    "peft",
    "ray",
    "optuna",
    "sqlalchemy",
    "matplotlib",
    "scipy",
    "pandas",
    "pyarrow",
)


ENUMS = ("analysis.ablation.study_names", "analysis.ranking.cost")
"""Modules of the analysis that signatures need; they import nothing."""

FOR_BODIES = (
    "rich.live",
    "duckdb",
    "numpy",
    "trainables.specs",
    "tuning.experiment",
    "tuning.ledger",
    *(
        name
        for path in (ROOT / "analysis").rglob("*.py")
        if path.name != "__init__.py"
        and (name := ".".join(path.relative_to(ROOT).with_suffix("").parts)) not in ENUMS
    ),
)
"""What commands need only to run, not for help and completion."""


def imported_by(
    *arguments: str, cwd: Path, names: tuple[str, ...] = HEAVY, **environment: str
) -> tuple[str, str]:
    """What the command prints, and those of `names` that it imports."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import main\n"
        "try: main()\n"
        f"finally: print('IMPORTED', *[m for m in {names} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=300, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    out, _, found = done.stdout.rpartition("IMPORTED")
    return out, found.strip()


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments for every command that only reads."""
    storage = tmp_path_factory.mktemp("readable")
    write(storage / "digits")
    told = [
        Told(LORA | {"lora.rank": 4 << number % 3, "learning_rate": 1e-3 * (1 + number / 10)}, (number / 40,))
        for number in range(12)
    ]
    write(storage / "many", told)
    ran(storage / "designed", {4: {1: 0.50, 2: 0.52, 3: 0.51}, 8: {1: 0.60, 2: 0.63, 3: 0.60}})
    (storage / "digits" / "driver.log").write_text("started\n")
    return storage


READING = (
    ("--help",),
    ("--version",),
    ("validate", "quickstart"),
    ("schema",),
    ("spaces",),
    ("status", "digits"),
    ("list",),
    ("logs", "digits"),
    ("best", "digits"),
    ("best", "digits", "--where", "lora.rank > 4"),
    ("best", "digits", "--format", "yaml"),
    ("query", "digits", "SELECT trial FROM trials"),
    ("pareto", "many"),
    ("ablate", "digits", "--over", "lora.rank", "--levels", "4,8", "--dry-run"),
    ("ablation", "digits", "--by", "adapter"),
    ("compare", "digits:0", "digits:4"),
)


@pytest.mark.parametrize(
    "arguments",
    [
        slow(each, id=" ".join(each)) if number % 3 else pytest.param(each, id=" ".join(each))
        for number, each in enumerate(READING)
    ],
)
def test_commands_that_read_import_nothing_heavy(readable: Path, arguments: tuple[str, ...]) -> None:
    """This makes them fast; `benchmarks/start_up.py` measures how fast they are."""
    _, found = imported_by(*arguments, cwd=readable, ADAPTERTUNE_STORAGE=str(readable))
    assert found == ""


@pytest.mark.parametrize(
    "arguments",
    [
        slow(("importance", "many"), id="importance many"),
        pytest.param(("report", "digits"), id="report digits"),
        slow(("ablation", "designed/digits-ablate-lora.rank"), id="ablation of one"),
    ],
)
def test_commands_that_compute_statistics_or_draw_import_neither_torch_nor_ray(
    readable: Path, arguments: tuple[str, ...]
) -> None:
    frameworks = ("torch", "transformers", "peft", "ray")
    _, found = imported_by(*arguments, cwd=readable, names=frameworks, ADAPTERTUNE_STORAGE=str(readable))
    assert found == ""


def test_domains_imports_nothing_heavy(storage: Path, shifted: Path) -> None:
    _, found = imported_by("domains", "shifted", cwd=storage, ADAPTERTUNE_STORAGE=str(storage))
    assert found == ""


@pytest.mark.parametrize(
    "name", [name if number % 5 == 0 else slow(name) for number, name in enumerate(COMMANDS)]
)
def test_the_help_of_a_command_imports_what_its_signature_needs_alone(name: str, tmp_path: Path) -> None:
    _, found = imported_by(name, "--help", cwd=tmp_path, names=(*HEAVY, *FOR_BODIES))
    assert found == ""


@pytest.mark.parametrize("name", ["best", "launch", "ablate", "predict"])
def test_completion_in_a_command_imports_what_its_signature_needs_alone(name: str, tmp_path: Path) -> None:
    names = (*HEAVY, *FOR_BODIES, "rich.console", "tuning.cli.console")
    variables = {
        "_ADAPTERTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"adaptertune\n{name}\n--",
        "COMP_CWORD": "2",
    }
    out, found = imported_by(cwd=tmp_path, names=names, **variables)
    assert "--storage" in out
    assert found == ""


def test_no_module_of_a_command_imports_pydantic(tmp_path: Path) -> None:
    """Typer imports it to read arguments, but our models are what takes long."""
    shared = ("options", "answers", "console", "errors", "completion", "app")
    modules = (*(f"tuning.cli.{name}" for name in shared), *(entry.module for entry in COMMANDS.values()))
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from importlib import import_module\n"
        f"for name in {modules}: import_module(name)\n"
        "print([name for name in ('pydantic', 'rich.live', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_help_of_all_commands_imports_none_of_them(tmp_path: Path) -> None:
    modules = (*(entry.module for entry in COMMANDS.values()), "pydantic", "tuning.cli.options")
    for arguments in (("--help",), ("--version",)):
        _, found = imported_by(*arguments, cwd=tmp_path, names=modules)
        assert found == ""


def test_a_command_imports_its_own_module_alone(tmp_path: Path) -> None:
    modules = tuple(entry.module for entry in COMMANDS.values())
    _, found = imported_by("spaces", cwd=tmp_path, names=modules)
    assert found == "tuning.cli.files.spaces"


def test_version_names_the_main_libraries(run: Callable[..., Result]) -> None:
    lines = dict(line.split() for line in run("--version").stdout.splitlines())
    assert list(lines) == ["adaptertune", "python", "torch", "ray", "optuna", "transformers", "peft"]
    assert lines["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(value[0].isdecimal() for value in lines.values())


def test_the_module_runs_as_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Usage: adaptertune [OPTIONS] COMMAND [ARGS]..." in done.stdout
    assert cli.main.__module__ == "tuning.cli.app"
