"""What Ray keeps of the reports of a trial is dropped when the trial has ended, and not before."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.registry import register_trainable
from scripted import Scripted, Sweeps

from tuning.run.ray_memory import EndedTrials
from tuning.run.ray_scheduler import RecordingScheduler


def reported(number: int) -> Trial:
    """Ray's trial with three reports of a hundred metrics."""
    register_trainable("scripted", Scripted)
    trial = Trial("scripted", config={"trial": number}, trial_id=str(number), stub=True)
    for report in range(3):
        metrics = {f"metric_{i}": float(report + i) for i in range(100)}
        trial.update_last_result(metrics | {"training_iteration": report + 1})
    return trial


def test_only_of_trials_that_have_ended() -> None:
    trials, ended = [reported(0), reported(1)], EndedTrials()
    for trial in trials:
        assert len(trial.metric_analysis) >= 100
        ended.add(trial)
    trials[0].set_status(Trial.TERMINATED)
    ended.forget()
    assert trials[0].metric_analysis == trials[0].metric_n_steps == {}
    assert trials[0].last_result == {"done": True, "trial_id": "0"}
    assert len(trials[1].metric_analysis) >= 100
    trials[1].set_status(Trial.ERROR)
    ended.forget()
    ended.forget()
    assert trials[1].metric_analysis == {}


def test_a_sweep_holds_no_reports_of_its_ended_trials(sweep: Sweeps, monkeypatch: Any) -> None:
    held: dict[str, int] = {}
    choose = RecordingScheduler.choose_trial_to_run

    def look(self: RecordingScheduler, controller: Any) -> None:
        choose(self, controller)
        held.update({t.trial_id: len(t.metric_analysis) for t in controller.get_trials() if t.is_finished()})

    monkeypatch.setattr(RecordingScheduler, "choose_trial_to_run", look)
    result = sweep(search={"trials": 6}, trial={"epochs": 3}, resources={"concurrent": 1})
    assert len(result.history.trials) == 6
    assert len(held) >= 5  # each but the last one was seen after its end
    assert set(held.values()) == {0}
