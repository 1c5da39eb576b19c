"""A trial that the rule ends is recorded first, and told to the study as a rebuilt study would be told."""

from __future__ import annotations

from pathlib import Path

from scripted import experiment

from trainables.specs.workload import Direction
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import EndedRecord, ExperimentRecord, Record, ReportRecord, StoppedRecord
from tuning.run.stopping.prune import prune
from tuning.scheduling.registry import build_rule
from tuning.search.proposal import Proposal
from tuning.search.study import Study

GIVEN = experiment(search={"trials": 2, "seed": 3, "random": {}}, scheduler={"asha": {"rest": True}})


def study_of(history: History | None = None) -> Study:
    return Study(
        GIVEN.space, GIVEN.search, name="sweep", direction=Direction.MAXIMIZE, trials=2, history=history
    )


def test_what_it_reached_on_smaller_images_is_told_live_and_when_rebuilt(tmp_path: Path) -> None:
    records: list[Record] = []
    header = ExperimentRecord(name="sweep", file="", experiment=GIVEN.model_dump(mode="json"))
    recorder = Recorder(Ledger.create(tmp_path / "sweep", header), History(header), records.append)
    rule = build_rule(GIVEN.scheduler, Direction.MAXIMIZE, max_epochs=GIVEN.max_epochs)
    assert rule is not None
    study = study_of()
    proposal = study.propose()
    assert isinstance(proposal, Proposal)
    recorder.record(proposal.started())
    recorder.record(ReportRecord(trial=0, epoch=1.0, step=9, objective=0.4, image_size=(32, 32)))
    study.report(0, 1.0, 0.4)
    recorder.end(0, Outcome.RESTING)
    prune(0, rule, recorder, study)
    stopped, ended = records[-2:]
    assert isinstance(stopped, StoppedRecord)
    assert (stopped.by, stopped.epoch) == (StoppedBy.ASHA, 1.0)
    assert isinstance(ended, EndedRecord)
    assert (ended.outcome, ended.value) == (Outcome.PRUNED, None)
    live, rebuilt = (each.optuna.trials[0] for each in (study, study_of(recorder.history)))
    assert (live.state, live.value) == (rebuilt.state, rebuilt.value)
    assert live.value == 0.4
