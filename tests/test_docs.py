"""The documentation: links, named tests, files and commands, experiment files, the picture of the layers."""

from __future__ import annotations

import ast
import pkgutil
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from click import Context
from typer.main import get_command

import adaptertune
from tuning.cli.app import app
from tuning.experiment.load import load_experiment

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN_BY_THE_READER = {
    "trainables/adapters/families/vera.py",
    "tests/trainables/adapters/families/test_vera.py",
    "trainables/tasks/foreground.py",
    "tests/trainables/tasks/test_foreground.py",
    "tuning/scheduling/margin.py",
    "tests/tuning/scheduling/test_margin.py",
    "tuning/search/samplers/local_search.py",
    "tests/tuning/search/samplers/test_local_search.py",
}
"""Files of the examples on the pages about adding something."""
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md")))
    if path.name != "DECISIONS.md"
}
CURRENT = {name: text for name, text in PAGES.items() if name != "CHANGELOG.md"}
"""Pages that describe the present; the changelog may name removed things."""
README_LINES = 150
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`(?: \*(slow|exhaustive)\*)?")
OURS = re.compile(
    r"`((?:adaptertune|analysis|tuning|trainables|cluster|search_spaces|tests|benchmarks|docs)/[\w./-]*)`"
)
COMMAND = re.compile(r"\badaptertune ([a-z]+)")


def prose(text: str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text)


def blocks(text: str, *languages: str) -> list[str]:
    """The code blocks in these languages, without their indentation."""
    return [
        "\n".join(line.removeprefix(indent) for line in code.splitlines())
        for indent, language, code in FENCE.findall(text)
        if language in languages
    ]


@cache
def anchors(text: str) -> frozenset[str]:
    """The anchors that a repository's page gives its headings."""
    found: list[str] = []
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", prose(text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


# --- links ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_resolve(page: str) -> None:
    wrong = []
    for target in LINK.findall(prose(PAGES[page])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            wrong.append(target)
    assert not wrong


def test_anchors_are_those_of_a_repository() -> None:
    text = "# A `b.c`: d, e & [f](g)\n```sh\n# no heading\n```\n## Twice\n## Twice\n"
    assert anchors(text) == {"a-bc-d-e--f", "twice", "twice-1"}


def test_the_index_lists_every_page() -> None:
    linked = {str((DOCS / path).resolve().relative_to(ROOT)) for path in LINK.findall(PAGES["docs/index.md"])}
    generated = {name for name in PAGES if re.fullmatch(r"docs/examples/\w+/report\.md", name)}
    assert {name for name in PAGES if name.startswith("docs/")} - generated - linked == {"docs/index.md"}


def test_the_readme_stays_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= README_LINES


# --- tests and files that are named -----------------------------------------------------------


@cache
def suite_by_name(file: str) -> dict[str, str]:
    """The tests in a file, and what runs each: `slow`, `exhaustive`, or nothing for `make test`."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    whole = " ".join(
        ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "pytestmark"
    )
    return {
        node.name: _suite(" ".join([whole, *map(ast.unparse, node.decorator_list)]))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _suite(marks: str) -> str:
    return next((suite for suite in ("exhaustive", "slow") if f"mark.{suite}" in marks), "")


REFERENCES = sorted({named for text in CURRENT.values() for named in NAMED.findall(text)})


@pytest.mark.parametrize(("file", "test", "suite"), REFERENCES)
def test_every_test_that_is_named_exists(file: str, test: str, suite: str) -> None:
    file = file.removeprefix("tests/")
    assert (ROOT / "tests" / file).is_file(), f"there is no tests/{file}"
    known = suite_by_name(file)
    assert test in known, f"tests/{file} has no {test}; it has {', '.join(known)}"
    assert known[test] == suite, f"{test} is run by make test{known[test] and '-'}{known[test]}"


@pytest.mark.parametrize(("page", "least"), [("fidelity", 40), ("reliability", 30)])
def test_every_row_has_a_test(page: str, least: int) -> None:
    lines = PAGES[f"docs/explanation/{page}.md"].splitlines()
    rows = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and "---" not in line and "---" not in after
    ]
    assert len(rows) > least
    for row in rows:
        assert NAMED.search(row), row


@pytest.mark.parametrize("page", CURRENT)
def test_no_named_test_escapes_the_check(page: str) -> None:
    """A name in another form would not be checked."""
    text = CURRENT[page]
    assert text.count("::") == len(NAMED.findall(text)) + text.count("`file::function`")


def test_reference_tests_are_all_named() -> None:
    named = {file for file, _, _ in NAMED.findall(PAGES["docs/explanation/fidelity.md"])}
    assert {f"reference/{path.name}" for path in (ROOT / "tests/reference").glob("test_*.py")} <= named


@pytest.mark.parametrize("page", CURRENT)
def test_files_that_are_named_exist(page: str) -> None:
    named = {name for name in OURS.findall(prose(CURRENT[page])) if "NAME" not in name}
    assert {name for name in named - WRITTEN_BY_THE_READER if not (ROOT / name).exists()} == set()


# --- commands and experiment files ------------------------------------------------------------


@pytest.mark.parametrize("page", CURRENT)
def test_commands_that_are_named_exist(page: str) -> None:
    group = get_command(app)
    known = set(group.list_commands(Context(group)))  # type: ignore[attr-defined]
    inline = re.findall(r"`([^`\n]+)`", prose(CURRENT[page]))
    code = "\n".join((*blocks(CURRENT[page], "sh", "bash", ""), *inline))
    assert set(COMMAND.findall(code)) <= known


@pytest.mark.parametrize("page", CURRENT)
def test_names_of_the_python_api_exist(page: str) -> None:
    code = "\n".join(blocks(CURRENT[page], "python"))
    assert set(re.findall(r"\badaptertune\.(\w+)", code)) <= set(adaptertune.__all__)


DOTTED = re.compile(r"`((?:adaptertune|analysis|tuning|trainables|cluster|search_spaces)(?:\.\w+)+)`")


@pytest.mark.parametrize("page", CURRENT)
def test_modules_and_names_that_are_named_exist(page: str) -> None:
    named = set(DOTTED.findall(prose(CURRENT[page])))
    for name in sorted(name for name in named if not name.endswith(".py")):  # a file of the user
        pkgutil.resolve_name(name)


EXPERIMENTS = [
    (page, code)
    for page, text in CURRENT.items()
    for code in blocks(text, "yaml")
    if re.search(r"^name:", code, re.M) and re.search(r"^task:", code, re.M)
]


@pytest.mark.parametrize(("page", "code"), EXPERIMENTS, ids=[page for page, _ in EXPERIMENTS])
def test_whole_experiment_files_are_valid(page: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(code, encoding="utf-8")
    load_experiment(tmp_path / "experiment.yaml")


def test_there_are_experiment_files_to_check() -> None:
    pages = {page for page, _ in EXPERIMENTS}
    assert {"README.md", "docs/reference/experiment-file.md", "docs/tutorials/first-sweep.md"} <= pages


# --- the picture of the layers ----------------------------------------------------------------

ARCHITECTURE = PAGES["docs/explanation/architecture.md"]
CONTRACTS = {
    contract["containers"][0]: contract["layers"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract.get("containers")
}


@pytest.mark.parametrize("package", CONTRACTS)
def test_the_picture_shows_the_layers_of_the_contracts(package: str) -> None:
    picture = re.search(rf"subgraph {package}\[.*?\n(.*?)\n  end", ARCHITECTURE, re.S)
    assert picture
    shown = re.findall(r'\w+\["([^"]+)"\]', picture[1])
    planned = re.compile(r"\(\w+\) \| ")  # layers in brackets do not exist yet
    assert shown == [planned.sub("", layer) for layer in CONTRACTS[package]]


def test_every_package_has_its_paragraph() -> None:
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/*/__init__.py")}
    packages = {str(folder) for folder in folders if folder.parts[0] in (*CONTRACTS, "cluster")}
    assert len(packages) > 20
    assert {name for name in packages if f"**`{name}`**" not in ARCHITECTURE} == set()
