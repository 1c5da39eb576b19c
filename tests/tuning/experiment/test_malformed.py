"""Malformed experiment files: invalid YAML, invalid experiments, overrides, and many errors at once."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import LATER, Case, case, label, lines_of, loaded, message_of

from trainables.errors import ExperimentFileError
from tuning.experiment.load import load_experiment

CASES = [
    case(
        "line 10  serach  unknown key; did you mean 'search'?",
        x="serach: {}",
    ),
    case(
        "line 10  epochs  unknown key; it is a setting of trials: write trial.epochs, or space.epochs to search it",
        x="epochs: 3",
    ),
    case(
        "line 1  name  is missing; give the experiment a name, such as name: pets",
        without="name",
    ),
    case(
        "line 1  task  is missing; write task: detection, task: segmentation or task: instance_segmentation",
        without="task",
    ),
    case(
        "line 1  objective  is missing; name the metric to optimise, such as objective: {metric: dice}",
        without="objective",
    ),
    case(
        "line 2  task  must be one of detection, segmentation, instance_segmentation, got 'detect'; did you mean 'detection'?",
        task="task: detect",
    ),
    case(
        "line 1  name  is used as a folder name: use up to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit; got 'my/pets'",
        name="name: my/pets",
    ),
    case(
        "line 1  name  must be text, got 2024; quote it: '2024'",
        name="name: 2024",
    ),
    case(
        "line 5  is not valid YAML: tabs are not allowed as indentation; use spaces",
        trial="trial:\n\tepochs: 3",
    ),
    case(
        "line 4  is not valid YAML: a second ':' on one line, or wrong indentation; quote text that contains ': '",
        trial="trial: epochs: 3",
    ),
    case(
        "line 4  trial.epochs  has the tag !!python/object:os.system; only plain values are allowed",
        trial="trial: {epochs: !!python/object:os.system 3}",
    ),
    case(
        "line 4  is not valid YAML: the '{' opened here is not closed, or a comma is missing inside it",
        trial="trial: {epochs: 3",
    ),
    case(
        "--set  nonsense  must be key=value, such as trial.epochs=5",
        overrides=["nonsense"],
    ),
    case(
        "--set  trial.epochs  must be a whole number, got 'three'",
        overrides=["trial.epochs=three"],
    ),
    case(
        "--set  space.lora.rank.choice  must be a whole number, got 'x'",
        overrides=["space.lora.rank.choice=[x]"],
    ),
    case(
        "--set  trial.epochs  is not valid YAML: the '[' opened here is not closed, or a comma is missing inside it, got '[1'",
        overrides=["trial.epochs=[1"],
    ),
    case(
        "--set  foo  unknown key; available: name, task, model, data, objective, constraints, trial, space, search, scheduler, resources, scoring, checkpoints, views, confirm, retries, durability",
        overrides=["foo.bar=1"],
    ),
    case(
        "--set  durability  must be one of os, disk, got 'ssd'",
        overrides=["durability=ssd"],
    ),
    case(
        "--set  =3  must be key=value, such as trial.epochs=5",
        overrides=["=3"],
    ),
]


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def test_what_the_cases_start_from_is_valid(tmp_path: Path) -> None:
    assert loaded(tmp_path, case().text).name == "pets"


MANY = """\
name: my pets
task: segmentation
objective: {metric: dise}
modell: {name: embedded}
data:
  masks:
    train: {images: a, masks: b}
    classes: [x, y]
    values: [0]
trial:
  epochs: three
  lora.rank: 8
space:
  adapter: {choice: [lora, lroa]}
  lora:
    rank: {choice: [4, eight]}
  weight_decay: {choice: [0.1], when: {adaptr: lora}}
  learning_rate: {float: [1e-2, 1e-4]}
search: {tpe: {startup: 3}}
scheduler: {asha: {grace: 1}}
resources: {cpus: 0}
"""


def test_all_errors_come_at_once_in_the_files_order(tmp_path: Path) -> None:
    assert message_of(tmp_path, MANY, ("retries=-1",)).splitlines() == [
        "pets.yaml: 14 errors",
        "  line 1   name                            is used as a folder name: use up to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit; got 'my pets'",
        "  line 3   objective.metric                segmentation has no metric 'dise'; did you mean 'dice'?",
        "  line 4   modell                          unknown key; did you mean 'model'?",
        "  line 9   data.masks.values               needs one grey value for each of the 2 classes, got 1",
        "  line 11  trial.epochs                    must be a whole number, got 'three'",
        "  line 12  trial.lora.rank                 is also in space; a setting is either fixed or searched, so remove one",
        "  line 14  space.adapter.choice            must be one of none, lora, adalora, loha, lokr, serial_lora, localized_lora, peft, got 'lroa'; did you mean 'lora'?",
        "  line 16  space.lora.rank.choice          must be a whole number, got 'eight'",
        "  line 17  space.weight_decay.when.adaptr  there is no parameter 'adaptr'; did you mean 'adapter'?",
        "  line 18  space.learning_rate.float       must run from low to high, got [0.01, 0.0001]",
        "  line 19  search.tpe.startup              unknown key; did you mean 'startup_trials'?",
        "  line 20  scheduler.asha.grace            unknown key; did you mean 'grace_epochs'?",
        "  line 21  resources.cpus                  must be at least 0.01, got 0",
        "  --set    retries                         must be at least 0, got -1",
        LATER,
    ]


def test_combinations_are_checked_despite_unrelated_errors(tmp_path: Path) -> None:
    clash = "space: {adapter: {choice: [lora]}, freezing: {choice: [full]}}"
    for elsewhere in ("resources: {cpus: x}", "modell: {}", "retries: -1"):
        said = message_of(tmp_path, case(space=clash, x=elsewhere).text)
        assert said.startswith("pets.yaml: 2 errors")
        assert "freezing 'full' needs adapter 'none'" in said
        assert LATER not in said
    said = message_of(tmp_path, case(space=clash, trial="trial: {epochs: x}").text)
    assert said.startswith("pets.yaml: 1 error\n")
    assert said.splitlines()[-1] == LATER
    assert message_of(tmp_path, case(space=clash, x="freezing: frozen").text).splitlines()[-1] == LATER


def test_too_deep_a_nesting_is_an_error_with_its_line(tmp_path: Path) -> None:
    rule = "is nested too deeply: at most 50 levels of lists and mappings"
    for depth in (60, 5_000):
        text = case(trial=f"trial: {{peft.arguments: {'[' * depth}{']' * depth}}}").text
        assert rule in message_of(tmp_path, text)
        assert "  line 4 " in message_of(tmp_path, text)
        said = message_of(tmp_path, case().text, (f"trial.epochs={'[' * depth}{']' * depth}",))
        assert f"--set  trial.epochs  {rule}" in said


def test_a_folder_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ExperimentFileError, match="is a folder; name the experiment file in it"):
        load_experiment(tmp_path)
    with pytest.raises(
        ExperimentFileError, match=r"no shipped experiment of that name; did you mean 'quickstart'\?"
    ):
        load_experiment("quikstart")
    with pytest.raises(
        ExperimentFileError,
        match="shipped experiments: coco_folder, dinov3_segmentation, mask_folder, quickstart",
    ):
        load_experiment("xyz.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Käse".encode("latin-1"))
    with pytest.raises(ExperimentFileError, match=r"latin\.yaml is not UTF-8 text"):
        load_experiment(latin)


@pytest.mark.parametrize(
    ("text", "rule"), [("", "is empty; it must be"), ("- 1", "must be a mapping with keys")]
)
def test_no_mapping(text: str, rule: str, tmp_path: Path) -> None:
    assert f"pets.yaml: 1 error\n  line 1  {rule}" in message_of(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("space.lora.rank[0].choice=[4]", "is not a list, so it has no item [0]"),
        ("search.first[0]={}", "has no item [0]; its length is 0, and positions start at 0"),
    ],
)
def test_an_override_of_an_item_that_is_not_there(override: str, rule: str, tmp_path: Path) -> None:
    text = case(search="search: {trials: 8, first: []}").text
    key = override.split("=")[0]
    assert message_of(tmp_path, text, (override,)).splitlines()[1] == f"  --set  {key}  {rule}"
