"""Several objectives and constraints in the Optuna study that is a view."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState
from recorded import LORA, Told, experiment, write

from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import read_header, read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.views.optuna_journal import JOURNAL_FILE, JournalStudyStorage
from tuning.views.optuna_study import StudyView

ASKED = experiment("two", further=[{"metric": "parameters"}], constraints={"peak_mb": {"at_most": 100}})


def told(dice: float, parameters: float, peak: float, outcome: Outcome = Outcome.COMPLETED) -> Told:
    return Told(
        LORA | {"learning_rate": 0.001 + 0.0001 * dice, "lora.rank": 4},
        (dice / 2, dice),
        outcome,
        values={"dice": dice, "parameters": parameters, "peak_mb": peak},
        broken=["peak_mb"] if peak > 100 else [],
    )


TRIALS = (
    told(0.8, 900.0, 50.0),
    told(0.6, 300.0, 50.0),
    told(0.5, 400.0, 50.0),
    told(0.9, 100.0, 150.0),
    told(0.3, 900.0, 50.0, Outcome.PRUNED),
)


@pytest.mark.parametrize("live", [False, True])
def test_it_has_all_directions_values_and_constraints(tmp_path: Path, live: bool) -> None:
    folder = write(tmp_path / "two", TRIALS, of=ASKED)
    view = StudyView(Experiment.model_validate(ASKED), JournalStudyStorage(folder))
    if live:
        view.begin(History(read_header(folder)))
        for record in list(read_records(folder))[1:]:
            view.observe(record)
    else:
        view.begin(read_history(folder))
    view.close()
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))
    study = optuna.load_study(study_name="two", storage=storage)
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert study.metric_names == ["dice", "parameters"]
    trials = study.get_trials()
    assert [trial.values for trial in trials] == [
        [0.8, 900.0], [0.6, 300.0], [0.5, 400.0], [0.9, 100.0], [0.3, 900.0],
    ]  # fmt: skip
    assert [trial.state for trial in trials] == [*[TrialState.COMPLETE] * 4, TrialState.PRUNED]
    assert [trial.constraints["peak_mb"] > 0 for trial in trials] == [False, False, False, True, False]
    assert sorted(trial.number for trial in study.best_trials) == [0, 1]
    before = (folder / JOURNAL_FILE).read_bytes()
    again = StudyView(ASKED, JournalStudyStorage(folder))
    again.begin(read_history(folder))
    again.close()
    assert (folder / JOURNAL_FILE).read_bytes() == before
