from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from scripted import Scripted, experiment, prepared_in

from cluster.connect import connect
from trainables.errors import ExperimentFileError, StorageError
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Direction
from tuning.experiment.goals import Goals
from tuning.experiment.load import load_experiment as read_experiment
from tuning.experiment.space import config_hash
from tuning.experiment.spec import Experiment
from tuning.ledger.ledger import LEDGER, Ledger, read_history
from tuning.ledger.outcomes import Ending, Outcome, StoppedBy
from tuning.ledger.records import (
    BuiltRecord,
    EarlierTrial,
    EndedRecord,
    ExperimentRecord,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
    WarmStartRecord,
)
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.search.proposal import Proposal
from tuning.search.samplers.counted_trials import REACHED
from tuning.search.study import Study
from tuning.search.warm_start import describe_earlier_trials, read_earlier_trials

LORA = {"adapter": "lora", "learning_rate": 1e-3, "lora.rank": 8}
LOHA = {"adapter": "loha", "learning_rate": 1e-2}


def record(storage: Path, trials: list[tuple[dict[str, Any], Outcome | None]], **parts: Any) -> Experiment:
    """An experiment in which trial n has run two epochs and has the value n / 10."""
    of = experiment(**{"name": "old"} | parts)
    header = ExperimentRecord(
        name=of.name, file="", experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    with Ledger.create(storage / of.name, header) as ledger:
        for number, (params, outcome) in enumerate(trials):
            ledger.append(StartedRecord(trial=number, params=params, hash=config_hash(params)))
            ledger.append(ReportRecord(trial=number, epoch=2.0, step=20, objective=number / 10))
            if outcome is Outcome.PRUNED:
                ledger.append(StoppedRecord(trial=number, by=StoppedBy.ASHA, epoch=2.0))
            if outcome is not None:
                ledger.append(EndedRecord(trial=number, outcome=outcome, value=number / 10, epoch=2.0))
    return of


def after(storage: Path, **parts: Any) -> WarmStartRecord:
    (found,) = read_earlier_trials(experiment(**{"search": {"trials": 4, "from": ["old"]}} | parts), storage)
    return found


def test_finished_trials_are_taken_and_the_others_named(tmp_path: Path) -> None:
    record(
        tmp_path,
        [
            (LORA, Outcome.COMPLETED),
            (LOHA, Outcome.PRUNED),
            (LOHA | {"learning_rate": 1e-4}, Outcome.EARLY_STOPPED),
            (LOHA | {"learning_rate": 2e-4}, Outcome.FAILED),
            (LOHA | {"learning_rate": 3e-4}, Outcome.INTERRUPTED),
            (LOHA | {"learning_rate": 4e-4}, None),
        ],
    )
    found = after(tmp_path)
    assert found.taken[:2] == [
        EarlierTrial(trial=0, params=LORA, outcome=Outcome.COMPLETED, value=0.0, epoch=2.0),
        EarlierTrial(trial=1, params=LOHA, outcome=Outcome.PRUNED, value=0.1, epoch=2.0),
    ]
    assert [trial.trial for trial in found.taken] == [0, 1, 2]
    assert found.dropped == {3: "failed", 4: "interrupted", 5: "not ended"}
    assert found.differs == []
    assert describe_earlier_trials(found)[0] == "learns from old: 3 of its 6 trials"


RANK_16 = {
    "adapter": {"choice": ["lora", "loha"]},
    "learning_rate": {"float": [1e-5, 1e-1], "log": True},
    "lora.rank": {"choice": [4, 16]},
}
SLOW = RANK_16 | {"learning_rate": {"float": [1e-5, 1e-3], "log": True}, "lora.rank": {"int": [2, 9]}}
NO_RANK = {name: RANK_16[name] for name in ("adapter", "learning_rate")}
MORE = RANK_16 | {"lora.rank": {"choice": [4, 8]}, "weight_decay": {"choice": [0.01, 0.1]}}
ONLY_LORA = {"learning_rate": RANK_16["learning_rate"], "lora.rank": {"choice": [4, 8]}}


@pytest.mark.parametrize(
    ("space", "trial", "taken", "dropped"),
    [
        (RANK_16, {}, [LOHA], {0: "lora.rank must be one of 4, 16, got 8"}),
        (SLOW, {}, [LORA], {1: "learning_rate must be a number from 1e-05 to 0.001, got 0.01"}),
        # Fixed here: its trials agree if they had that value.
        (NO_RANK, {"lora": {"rank": 8}}, [{"adapter": "lora", "learning_rate": 1e-3}, LOHA], {}),
        (NO_RANK, {"lora": {"rank": 4}}, [LOHA], {0: "lora.rank is 4 here, got 8"}),
        (ONLY_LORA, {}, [{"learning_rate": 1e-3, "lora.rank": 8}], {1: 'adapter is "lora" here, got "loha"'}),
        # Searched here and fixed there: the value that it had, its default.
        (MORE, {}, [LORA | {"weight_decay": 0.01}, LOHA | {"weight_decay": 0.01}], {}),
    ],
)
def test_the_spaces_must_agree(
    tmp_path: Path,
    space: dict[str, Any],
    trial: dict[str, Any],
    taken: list[dict[str, Any]],
    dropped: dict[int, str],
) -> None:
    record(tmp_path, [(LORA, Outcome.COMPLETED), (LOHA, Outcome.COMPLETED)])
    found = after(tmp_path, space=space, trial={"epochs": 9} | trial)
    assert [trial.params for trial in found.taken] == taken
    assert found.dropped == dropped


def test_a_parameter_that_its_conditions_exclude_here_must_have_the_value_it_has_here(tmp_path: Path) -> None:
    """The rank is searched only for a trained backbone; otherwise it has its default, 8."""
    space = {
        "freezing": {"choice": ["frozen", "unfrozen"]},
        "lora.rank": {"choice": [4, 8], "when": {"freezing": "unfrozen"}},
    }
    there = {"freezing": {"choice": ["frozen", "unfrozen"]}, "lora.rank": {"choice": [4, 8]}}
    trials = [{"freezing": f, "lora.rank": r} for f in ("frozen", "unfrozen") for r in (4, 8)]
    record(tmp_path, [(params, Outcome.COMPLETED) for params in trials], space=there)
    found = after(tmp_path, space=space)
    assert [trial.params for trial in found.taken] == [{"freezing": "frozen"}, *trials[2:]]
    assert found.dropped == {0: "lora.rank is 8 here, got 4"}


def test_what_else_was_otherwise_is_said(tmp_path: Path) -> None:
    record(tmp_path, [(LORA, Outcome.COMPLETED)], trial={"epochs": 5})
    assert after(tmp_path).differs == ["trial.epochs: 5 → 9"]


@pytest.mark.parametrize(
    ("parts", "there"),
    [
        ({"objective": {"metric": "map_50"}}, r"detection; map_50, max"),
        ({"objective": {"metric": "map", "mode": "min"}}, r"map, min"),
        ({"objective": {"metric": "map", "value": "last"}}, r"last report"),
        ({"task": "segmentation", "objective": {"metric": "dice"}}, r"segmentation; dice"),
    ],
)
def test_other_objectives_are_refused(tmp_path: Path, parts: dict[str, Any], there: str) -> None:
    record(tmp_path, [(LORA, Outcome.COMPLETED)], **parts)
    with pytest.raises(
        ExperimentFileError, match=rf"old have another task or objective \(.*{there}"
    ) as caught:
        after(tmp_path)
    assert "take old out of search.from" in str(caught.value)


def test_values_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    """The objective's metric under another definition; that of one class means the same in both."""
    task = {"task": "segmentation", "objective": {"metric": "dice"}}
    old = {"definitions": BEFORE.model_dump()}
    record(tmp_path, [(LORA, Outcome.COMPLETED)], **task, **old)
    with pytest.raises(ExperimentFileError, match="values of dice in old mean something else") as caught:
        after(tmp_path, **task)
    assert "mean over the foreground classes" in str(caught.value)
    assert "take old out of search.from" in str(caught.value)
    assert len(after(tmp_path, **task, **old).taken) == 1, "both of before"
    shutil.rmtree(tmp_path / "old")
    of_class = {"task": "segmentation", "objective": {"metric": "dice/cat"}, "data": MASKS}
    record(tmp_path, [(LORA, Outcome.COMPLETED)], **of_class, **old)
    assert len(after(tmp_path, **of_class).taken) == 1


MASKS = {"masks": {"train": {"images": "i", "masks": "m"}, "classes": ["background", "cat"]}}


def test_an_experiment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no experiment 'old'"):
        after(tmp_path)


# --- the study --------------------------------------------------------------------------------


def study(of: Experiment, records: list[WarmStartRecord]) -> Study:
    return Study(
        of.space, of.search, name="s", direction=Direction.MAXIMIZE, trials=of.search.trials, earlier=records
    )


def drawn(from_: Study) -> list[Proposal]:
    found = []
    while isinstance(proposal := from_.propose(), Proposal):
        found.append(proposal)
        from_.tell(proposal.number, Outcome.COMPLETED, 0.5)
    return found


def test_earlier_trials_count_for_the_sampler_and_not_as_trials(tmp_path: Path) -> None:
    """Ten good trials with loha, ten bad ones with lora: TPE asks for loha at once."""
    good = [(LOHA | {"learning_rate": 1e-2 + i / 1e4}, Outcome.COMPLETED) for i in range(10)]
    bad = [(LORA | {"learning_rate": 1e-3 + i / 1e5}, Outcome.PRUNED) for i in range(10)]
    record(tmp_path, bad + good)
    of = experiment(search={"trials": 6, "tpe": {"startup_trials": 10}, "from": ["old"]})
    records = read_earlier_trials(of, tmp_path)
    warm = study(of, records)
    states = [trial.state for trial in warm.optuna.trials]
    assert states == [TrialState.PRUNED] * 10 + [TrialState.COMPLETE] * 10
    proposals = drawn(warm)
    assert [proposal.number for proposal in proposals] == list(range(6))
    adapters = [proposal.params["adapter"] for proposal in proposals]
    assert adapters.count("loha") >= 5
    assert adapters != [proposal.params["adapter"] for proposal in drawn(study(of, []))]


def test_the_record_gives_the_same_study_once_the_other_experiment_is_gone(tmp_path: Path) -> None:
    record(tmp_path, [(LOHA, Outcome.COMPLETED), (LORA, Outcome.PRUNED)])
    of = experiment(search={"trials": 6, "tpe": {"startup_trials": 2}, "from": ["old"]})
    records = read_earlier_trials(of, tmp_path)
    header = ExperimentRecord(
        name="new", file="", experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    with Ledger.create(tmp_path / "new", header) as ledger:
        for each in records:
            ledger.append(each)
    shutil.rmtree(tmp_path / "old")
    again = read_history(tmp_path / "new")
    assert list(again.earlier) == records
    written = json.loads((tmp_path / "new" / LEDGER).read_text().splitlines()[0])["experiment"]["search"]
    assert written["from"] == ["old"]
    assert drawn(study(of, records)) == drawn(study(of, list(again.earlier)))


# --- the file ---------------------------------------------------------------------------------

FILE = """\
name: new
task: segmentation
objective: {metric: dice}
space:
  learning_rate: {float: [1e-4, 1e-2]}
"""


def test_names_stay_and_paths_go_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(FILE + "search: {trials: 3, from: [old, ../elsewhere/older]}\n")
    found = read_experiment(file).search.from_
    assert found == ("old", str(tmp_path.parent / "elsewhere" / "older"))
    assert Experiment.model_validate_json(read_experiment(file).model_dump_json()).search.from_ == found


@pytest.mark.parametrize(
    ("search", "fault"),
    [
        ("{trials: 3, random: {}, from: [old]}", "search.from  .*random learns nothing from earlier trials"),
        ("{trials: 3, from: [old, old]}", "search.from  .*contains 'old' twice"),
        ("{trials: 3, from_: [old]}", "search.from_  .*unknown key; did you mean 'from'"),
        ("{trials: 3, from: old}", "search.from  "),
    ],
)
def test_faults_of_the_section(tmp_path: Path, search: str, fault: str) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(FILE + f"search: {search}\n")
    with pytest.raises(ExperimentFileError, match=fault):
        read_experiment(file)


# --- a sweep ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_goes_on_from_its_own_record_once_the_other_experiment_is_gone(tmp_path: Path) -> None:
    data = prepared_in(tmp_path / "data")
    given: dict[str, Any] = {"trainable": Scripted, "prepare": lambda _: data}
    seen: list[Any] = []
    record(tmp_path, [(LOHA, Outcome.COMPLETED), (LORA, Outcome.PRUNED), (LORA, Outcome.FAILED)])
    of = experiment(
        name="new",
        search={"trials": 3, "tpe": {"startup_trials": 2}, "from": ["old"]},
        trial={"epochs": 2},
        resources={"concurrent": 1},
    )
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        whole = launch_experiment(of, tmp_path, on_event=seen.append, **given)
        assert [r for r in seen if isinstance(r, WarmStartRecord)] == list(whole.history.earlier)
        assert whole.outcome is Ending.FINISHED
        assert list(whole.history.trials) == [0, 1, 2]
        lines = (whole.folder / LEDGER).read_bytes().splitlines(keepends=True)
        shutil.rmtree(tmp_path / "old")
        shutil.rmtree(whole.folder)
        whole.folder.mkdir()
        (whole.folder / LEDGER).write_bytes(b"".join(lines[: len(lines) // 2]))
        again = resume_experiment(whole.folder, **given)
    assert len(again.history.earlier) == 1
    drawn = [[dict(trial.params) for trial in of.history.trials.values()] for of in (whole, again)]
    assert drawn[0] == drawn[1]


def test_a_driver_that_died_before_it_had_read_earlier_trials_reads_them_on_resume(tmp_path: Path) -> None:
    record(tmp_path, [(LOHA, Outcome.COMPLETED)])
    record(tmp_path, [(LORA, Outcome.COMPLETED)], name="older")
    of = experiment(search={"trials": 5, "from": ["old", "older"]})
    first, second = read_earlier_trials(of, tmp_path)
    assert [first.experiment, second.experiment] == ["old", "older"]
    (left,) = read_earlier_trials(of, tmp_path, known=1)
    assert left.taken == second.taken


def test_a_launch_that_cannot_read_earlier_trials_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no experiment 'old'"):
        launch_experiment(experiment(name="new", search={"trials": 5, "from": ["old"]}), tmp_path / "storage")
    assert not (tmp_path / "storage").exists()


SCALED = {
    "adapter": {"choice": ["lora", "loha"]},
    "learning_rate": {"float": [1e-5, 1e-1], "log": True, "scale_with": "lora.rank"},
    "lora.rank": {"choice": [4, 8, 16]},
}


def test_rates_are_those_at_which_trials_trained_in_the_notation_of_this_space(tmp_path: Path) -> None:
    plain = {name: {k: v for k, v in d.items() if k != "scale_with"} for name, d in SCALED.items()}
    drawn = LORA | {"lora.rank": 16}
    for there, here, wanted in ((SCALED, SCALED, 1e-3), (plain, SCALED, 2e-3), (SCALED, plain, 5e-4)):
        storage = tmp_path / f"{wanted}"
        record(storage, [(drawn, Outcome.COMPLETED)], space=there)
        (taken,) = after(storage, space=here).taken
        assert taken.params == drawn | {"learning_rate": wanted}


# --- several objectives -----------------------------------------------------------------------

WEIGHED: dict[str, Any] = {
    "further": [{"metric": "map_50"}, {"metric": "macs"}],
    "constraints": {"peak_mb": {"at_most": 500}},
}


def record_weighed(storage: Path, lacks: tuple[str, ...] = ()) -> None:
    """Four trials that ran two epochs, the better one first; the last one was pruned.

    lacks: metrics that no trial has; trial 2 never has map_50.
    """
    of = experiment(name="old")
    header = ExperimentRecord(name="old", file="", experiment=of.model_dump(mode="json"))
    with Ledger.create(storage / "old", header) as ledger:
        for n in range(4):
            params = LOHA | {"learning_rate": 1e-3 * (n + 1)}
            ledger.append(StartedRecord(trial=n, params=params, hash=config_hash(params)))
            macs = None if "macs" in lacks else 100 + n
            ledger.append(BuiltRecord(trial=n, parameters={"adapter": 5, "head": 1}, macs=macs))
            for epoch, value in ((1.0, n / 10), (2.0, n / 10 - 0.05)):
                has = n != 2 and "map_50" not in lacks
                metrics = {"map_50": value + 0.5} if has else {}
                ledger.append(
                    ReportRecord(
                        trial=n, epoch=epoch, step=10, objective=n / 10, metrics=metrics,
                        peak_mb=200.0 * (n + 1),
                    )
                )  # fmt: skip
            outcome = Outcome.PRUNED if n == 3 else Outcome.COMPLETED
            ledger.append(EndedRecord(trial=n, outcome=outcome, value=n / 10, epoch=2.0))


def test_with_several_objectives_the_values_of_one_report_are_taken(tmp_path: Path) -> None:
    record_weighed(tmp_path)
    found = after(tmp_path, **WEIGHED)
    assert [trial.trial for trial in found.taken] == [0, 1, 3]
    assert found.taken[1].values == {"map": 0.1, "map_50": 0.6, "macs": 101.0, "peak_mb": 400.0}
    assert found.dropped == {2: "no value of map_50"}
    assert after(tmp_path).taken[1].values == {}, "one objective and no constraints"


def test_the_study_knows_their_values_and_what_they_break(tmp_path: Path) -> None:
    record_weighed(tmp_path)
    of = experiment(search={"trials": 4, "tpe": {"startup_trials": 2}, "from": ["old"]}, **WEIGHED)
    warm = Study(
        of.space, of.search, name="s", direction=Direction.MAXIMIZE, trials=4, goals=Goals.of(of),
        earlier=read_earlier_trials(of, tmp_path),
    )  # fmt: skip
    first, second, pruned = warm.optuna.trials
    assert (first.state, first.values) == (TrialState.COMPLETE, [0.0, 0.5, 100.0])
    assert [trial.constraints["peak_mb"] for trial in (first, second, pruned)] == [-0.6, -0.2, 0.6]
    assert (pruned.state, pruned.user_attrs[REACHED]) == (TrialState.PRUNED, [0.3, 0.8, 103.0])


@pytest.mark.parametrize("lacks", [("macs",), ("map_50",), ("map_50", "macs")])
def test_what_the_other_experiment_has_not_recorded_is_named(tmp_path: Path, lacks: tuple[str, ...]) -> None:
    record_weighed(tmp_path, lacks)
    with pytest.raises(ExperimentFileError) as caught:
        after(tmp_path, **WEIGHED)
    assert f"trials of old have not recorded {' and '.join(lacks)}, which this search weighs" in str(
        caught.value
    )
