"""A sweep with one worker, in this process and without Ray: with a real ledger, study and rule.

It can be cut off after any line of its record, and goes on as a resumed driver does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from scripted import essence

from trainables.specs.job import TrialResult
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ClosedRecord, ExperimentRecord, ResumedRecord
from tuning.run.composition import Composition
from tuning.run.results import Results
from tuning.run.settling import settle
from tuning.run.stopping.resting import end_resting, resting_of
from tuning.run.stopping.search_end import SearchEnd
from tuning.run.stopping.sweep_rule import build_sweep_rule
from tuning.search.proposal import Proposal
from tuning.search.study import Study

Value = Callable[[TrialConfig, float], float]
"""The objective of a configuration after an epoch."""


def value_at(config: TrialConfig, epoch: float) -> float:
    """The objective of `scripted.Scripted`."""
    return 1.0 - abs(math.log10(config.learning_rate) + 2.0) / 4.0 - 1.0 / (epoch + 1.0)


def run_alone(experiment: Experiment, folder: Path, value: Value = value_at) -> History:
    """Run a sweep from its beginning to its end."""
    header = ExperimentRecord(
        name="sweep", file="", experiment=experiment.model_dump(mode="json", exclude={"source_text"})
    )
    with Ledger.create(folder, header) as ledger:
        return _drive(folder, Recorder(ledger, History(header)), value)


def go_on(folder: Path, **asked: int) -> History:
    """Continue a sweep from its record to its end. asked: fields of the record that it resumes with."""
    with Ledger.open(folder) as ledger:
        return _drive(
            folder, Recorder(ledger, read_history(folder), resumed=ResumedRecord(**asked)), value_at
        )


def cut_off(whole: Path, to: Path, lines: int) -> Path:
    """A copy of a record as a driver that died after so many lines leaves it."""
    to.mkdir(parents=True)
    kept = (whole / LEDGER).read_bytes().split(b"\n")[:lines]
    (to / LEDGER).write_bytes(b"\n".join(kept) + b"\n")
    return to


def assert_the_same_from_everywhere(whole: Path, scratch: Path, *, every: int = 1) -> int:
    """Cut the sweep off after each line, let it go on, and compare. every: only at each so-manieth line.

    Returns the number of cuts.
    """
    lines = len(list(read_records(whole)))
    cuts = range(1, lines, every)
    for cut in cuts:
        folder = cut_off(whole, scratch / str(cut), cut)
        history = go_on(folder)
        assert essence(folder) == essence(whole), cut
        assert (history.search_ended is None) == (read_history(whole).search_ended is None), cut
    return len(cuts)


def _drive(folder: Path, recorder: Recorder, value: Value) -> History:
    of = experiment_of(recorder.history.header)
    rule = build_sweep_rule(of, recorder)
    settle(Composition(of, folder, recorder, past=tuple(read_records(folder))), rule)
    study = Study(
        of.space,
        of.search,
        name="sweep",
        direction=of.workload.direction,
        trials=of.search.trials,
        history=recorder.history,
        resting=resting_of(rule, recorder),
        end=SearchEnd(of, recorder),
    )
    results = Results(rule, recorder, study)
    while isinstance(proposal := study.propose(), Proposal):
        recorder.record(proposal.started())
        _train(of, recorder, results, proposal, value)
    end_resting(rule, recorder, study)
    recorder.record(ClosedRecord(reason=Ending.FINISHED))
    return recorder.history


def _train(of: Experiment, recorder: Recorder, results: Results, proposal: Proposal, value_of: Value) -> None:
    """Report epoch after epoch until the trial ends or rests, from where its record ends."""
    config = of.trial_config(proposal.params)
    epoch = recorder.trial(proposal.number).epoch
    while True:
        epoch += 1.0
        done, value = epoch >= config.epochs, value_of(config, epoch)
        report = Report(
            epoch=epoch, step=int(epoch) * 10, metrics={"map": value}, objective=value, train_s=0.1,
            evaluate_s=0.1, wait_s=0.0, samples=8, peak_mb=1.0, done=done,
            outcome="completed" if done else None,
        )  # fmt: skip
        result = TrialResult(
            trial=proposal.number, epoch=epoch, objective=value, report=report, done=done
        ).for_ray()
        if results.take(proposal.number, result):
            return
