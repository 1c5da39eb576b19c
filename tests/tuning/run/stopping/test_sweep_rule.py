"""A sweep's rule has the version and the seed of its record, and knows its trials' parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripted import experiment

from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import RECORDS, StartedRecord
from tuning.run.reconcile import replay
from tuning.run.stopping.sweep_rule import build_sweep_rule
from tuning.scheduling.rule import CONTINUE, STOP, StoppingRule

LINE = (
    '{"time":1.0,"kind":"report","trial":%d,"epoch":1.0,"step":8,"objective":0.0,"metrics":{"map":0.0},'
    '"train_s":1.0,"evaluate_s":0.1,"wait_s":0.0,"samples":8,"peak_mb":1.0,"outcome":null}'
)
"""A report as the first versions wrote it."""


def rule_of(
    folder: Path, scheduler: dict[str, Any], *, as_given: bool = False, **parts: Any
) -> tuple[StoppingRule, Recorder]:
    """The rule of a sweep whose header is read from its line, as on resume.

    as_given: the line has the scheduler without defaults, some of which are newer than the record.
    """
    written = experiment(scheduler=scheduler, trial={"epochs": 9}).model_dump(
        mode="json", exclude={"source_text"}
    )
    if as_given:
        parts["scheduler"] = scheduler
    for name, value in parts.items():
        written = {key: old for key, old in written.items() if key != name} | (
            {} if value is None else {name: value}
        )
    header = RECORDS.validate_json(
        json.dumps({"kind": "experiment", "time": 1.0, "name": "a", "file": "", "experiment": written})
    )
    recorder = Recorder(Ledger.create(folder, header), History(header))
    rule = build_sweep_rule(experiment_of(header), recorder)
    assert rule is not None
    return rule, recorder


def test_a_record_of_before_replays_under_the_rules_of_before(tmp_path: Path) -> None:
    """Thirty trials that all report 0.0: the first version stops none, and so it must when it is replayed."""
    lines = [RECORDS.validate_json(LINE % number) for number in range(30)]
    for scheduler in ({"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}, {"median": {}}):
        name = next(iter(scheduler))
        old, _ = rule_of(tmp_path / f"old {name}", scheduler, as_given=True, definitions=None)
        assert replay(lines, old) == frozenset()
        found = {"dice": 2, "coco": 2}
        named, _ = rule_of(tmp_path / f"named {name}", scheduler, as_given=True, definitions=found)
        assert replay(lines, named) == frozenset()
        new, _ = rule_of(tmp_path / f"new {name}", scheduler)
        assert 8 <= len(replay(lines, new)) <= 24


def test_groups_are_formed_by_the_parameters_in_the_record(tmp_path: Path) -> None:
    rule, recorder = rule_of(tmp_path / "a", {"asha": {"within": ["freezing"]}})
    for number, freezing in enumerate(["frozen", "unfrozen", "frozen"]):
        recorder.record(StartedRecord(trial=number, params={"freezing": freezing}, hash=f"h{number}"))
    assert rule.decide(1, 1.0, 0.9) == CONTINUE
    assert rule.decide(0, 1.0, 0.5) == CONTINUE
    assert rule.decide(2, 1.0, 0.4) == STOP
