"""The contents of a report: each section from a record that has data for it, or else the reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ablations import spec_of, sweep_in
from recorded import LORA, Told, experiment, write
from reports import HOSTILE, blocks, figure, many, rich, said, told

from analysis.ablation.design import choose_base, levels_over
from analysis.ablation.experiment import retuning_experiment
from analysis.query.sweep import spread
from analysis.report import inputs as material_
from analysis.report.build import report_of
from analysis.report.document import (
    Absent,
    Figure,
    Gallery,
    ReportDocument,
)
from analysis.report.inputs import Material, sample_trials
from analysis.report.plots import Ablation, Costs, Curves, Dots, Parallel
from analysis.report.training import saved_share
from trainables.metrics.per_image import BoxImages
from trainables.metrics.per_image import write_per_image as write_images
from trainables.run_folder import image_results
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ScoredRecord
from tuning.ledger.storage import trial_folder

SECTIONS = [
    "searched", "best", "curves", "ablations", "importance", "parallel", "pareto", "domains", "classes",
    "details",
    "examples", "failures", "cost", "environment",
]  # fmt: skip


# --- a record that has everything -------------------------------------------------------------


def test_every_section_has_something_to_show(report: ReportDocument) -> None:
    assert [section.anchor for section in report.sections] == SECTIONS
    empty = [s.anchor for s in report.sections if all(isinstance(block, Absent) for block in s.blocks)]
    assert empty == []


def test_every_caption_of_a_figure_says_which_images_it_is_measured_on(report: ReportDocument) -> None:
    measured = [f for f in report.figures if "validation" not in f.caption and "test images" not in f.caption]
    assert measured == []
    assert all(len(f.alt) > 30 and f.title for f in report.figures)
    names = [f.name for f in report.figures]
    assert len(set(names)) == len(names)


def test_the_search_is_described_with_its_outcomes(report: ReportDocument) -> None:
    text = said(blocks(report, "searched"))
    assert "search: random, seed 0" in text
    assert "early stopping: ASHA by rank, one in 3 continues, rungs at epoch 1, 3" in text
    assert "learning_rate | 0.001 to 0.01, log |" in text
    assert "lora.rank | 4, 8, 16 | adapter is lora" in text
    assert "failed | 1" in text


def test_the_best_configuration_comes_with_the_command_that_trains_it_again(
    report: ReportDocument, material: Material
) -> None:
    assert material.best is not None
    number = material.best[0].number
    text = said(blocks(report, "best"))
    assert f"adaptertune train --from digits:{number}" in text
    score = material.best_score
    assert score is not None
    tested = score.metrics["dice"]
    assert f"The same weights on test images: {tested:.3f} (95 % CI over test images 0." in text
    assert "so that value is optimistic; the test value was not used for selection." in text
    assert "learning_rate:" in text


def test_values_have_the_decimals_that_their_error_allows(material: Material, tmp_path: Path) -> None:
    assert material.error is not None
    assert material.places == 3
    assert material.error[1] == "the 95 % CI over the test images"
    unknown = Material.at(write(tmp_path / "plain"))
    assert unknown.error is None
    assert unknown.rounded(0.75) == "0.750"
    assert "Values have 3 decimals; their error is not recorded" in said(blocks(report_of(unknown), "best"))


def test_curves_carry_the_rungs_and_the_best_trial_comes_last(
    report: ReportDocument, material: Material
) -> None:
    plot = figure(report, "curves").plot
    assert isinstance(plot, Curves)
    assert plot.rungs == (1.0, 3.0)
    assert plot.baseline == 0.01
    assert material.best is not None
    assert plot.curves[-1].trial == plot.best == material.best[0].number
    assert plot.peak == (material.best[1].epoch, material.best[1].value)
    lost = {trial.number for trial in material.sweep.trials if not trial.comparable}
    assert not lost & {curve.trial for curve in plot.curves}


def test_a_designed_ablation_of_it_is_shown_with_its_intervals(report: ReportDocument) -> None:
    found = figure(report, "ablation-0-lora-rank")
    assert isinstance(found.plot, Ablation)
    assert [level.name for level in found.plot.levels] == ["4", "8", "16"]
    assert all(level.interval is not None and len(level.values) == 3 for level in found.plot.levels)
    assert [level.reference for level in found.plot.levels] == [False, True, False]
    assert {d.name: d.significant for d in found.plot.differences} == {"4 − 8": True, "16 − 8": False}
    assert "Designed" in found.caption
    assert "on test images" in found.caption
    text = said(blocks(report, "ablations"))
    assert "4 is worse than 8" in text
    assert "16 and 8: no significant difference" in text


def test_results_from_the_trials_of_the_search_are_marked_observational(report: ReportDocument) -> None:
    for name in ("levels", "importance"):
        assert "bservational" in figure(report, name).caption
    assert "Significant importance: learning_rate" in said(blocks(report, "importance"))


def test_equal_trials_are_drawn_and_listed_in_the_order_of_the_ranking(tmp_path: Path) -> None:
    serial = {"adapter": "serial_lora", "freezing": "frozen"}
    settings = {"learning_rate": 0.002, "lora.rank": 4}
    curves = ((LORA, 0.3), (serial, 0.5), (LORA, 0.5), (LORA, 0.2))
    scores = [ScoredRecord(trial=n, epoch=1.0, metrics={"dice": value}) for n, value in ((2, 0.9), (1, 0.1))]
    trials = [Told(params | settings, (value,)) for params, value in curves]
    tied = report_of(Material.at(write(tmp_path / "ties", trials, baseline=None, scores=scores)))
    parallel, domains = figure(tied, "parallel").plot, figure(tied, "domains").plot
    assert isinstance(parallel, Parallel)
    assert [line.trial for line in parallel.lines] == [
        3,
        0,
        2,
        1,
    ]  # the best is drawn last, over all others
    assert isinstance(domains, Dots)
    assert [series.name for series in domains.series] == [
        "serial_lora, frozen (trial 1)",
        "lora, frozen (trial 2)",
    ]


def test_every_line_of_parallel_coordinates_is_on_its_axes(
    report: ReportDocument, material: Material
) -> None:
    plot = figure(report, "parallel").plot
    assert isinstance(plot, Parallel)
    names = [axis.name for axis in plot.axes]
    assert names == ["adapter", "freezing", "learning_rate, log", "lora.rank", "dice, validation images"]
    assert all(p is None or 0 <= p <= 1 for line in plot.lines for p in line.places)
    without = {t.number for t in material.sweep.trials if t.adapter != "lora"}
    assert all((line.places[3] is None) is (line.trial in without) for line in plot.lines)
    assert plot.lines[-1].trial == plot.best


def test_quality_is_plotted_against_cost_for_finished_trials_only(
    report: ReportDocument, material: Material
) -> None:
    plot = figure(report, "pareto-parameters").plot
    assert isinstance(plot, Costs)
    finished = {t.number for t in material.sweep.trials if t.finished}
    assert {point.trial for point in plot.points} == finished
    front = sorted((point.x, point.y) for point in plot.points if point.front)
    assert front == sorted(set(front))
    assert [y for _, y in front] == sorted(y for _, y in front)


def test_test_values_are_shown_in_domain_and_shifted(report: ReportDocument) -> None:
    plot = figure(report, "domains").plot
    assert isinstance(plot, Dots)
    assert plot.rows == ("in domain", "noisy", "dim")
    first = plot.series[0].marks
    assert [mark and mark.value for mark in first[1:]] == [0.35, 0.63]
    assert first[0] is not None
    assert first[0].interval is not None
    assert first[0].interval[0] < first[0].value < first[0].interval[1]
    assert [series.name for series in plot.series[-2:]] == [
        "pretrained baseline",
        "floor (constant predictor)",
    ]
    assert [mark and mark.value for mark in plot.series[-1].marks] == [0.2, 0.3, 0.2]
    share = (0.63 - 0.2) / (first[0].value - 0.2)
    text = said(blocks(report, "domains"))
    assert f"0.630 ({share:.2f})" in text
    assert "floor |  |  | 0.300 | 0.200 |  | 0.300 | 0.200" in text
    assert "each minus its floor" in text


def test_classes_have_intervals_over_test_images(report: ReportDocument) -> None:
    plot = figure(report, "classes").plot
    assert isinstance(plot, Dots)
    assert plot.rows == ("ground", "7")
    assert all(mark is not None and mark.interval is not None for mark in plot.series[0].marks)


def test_pictures_are_those_of_the_best_scored_trial_and_no_other_file(report: ReportDocument) -> None:
    (pictures,) = [block for block in blocks(report, "examples") if isinstance(block, Gallery)]
    assert [picture.caption for picture in pictures.images] == [
        "in domain, a<b>.png: 7 12 %",
        "shifted: dim, c.png: nothing",
    ]
    assert all(picture.data[:2] == b"\xff\xd8" for picture in pictures.images)


def test_failures_are_listed_with_their_reasons(report: ReportDocument) -> None:
    text = said(blocks(report, "failures"))
    assert "2 of 40 trials failed or diverged" in text
    assert f"failed | 1 | 38 | {HOSTILE}" in text
    assert "diverged | 1 | 39 | the loss is not finite at epoch 2" in text


def test_costs_include_what_early_stopping_saved(report: ReportDocument, material: Material) -> None:
    text = said(blocks(report, "cost"))
    ended = [t for t in material.sweep.trials if t.outcome in ("completed", "pruned")]
    saved = 1 - sum(t.ran for t in ended) / (6 * len(ended))
    assert saved_share(material) == pytest.approx(saved)
    assert f"saved by early stopping: {saved:.0%} of the epochs".replace("%", " %") in text
    assert "peak memory of a trial: 100 MB" in text
    assert "pack" not in text


def test_costs_of_packed_trials_are_called_shares(tmp_path: Path) -> None:
    folder = write(tmp_path / "packed", (Told(LORA, (0.1, 0.2)), Told(LORA, (0.1, 0.3), lanes=4)))
    text = said(blocks(report_of(Material.at(folder)), "cost"))
    assert "Up to 4 trials took their steps together" in text
    assert "are its share of what its pack took" in text


# --- records that have little -----------------------------------------------------------------


def test_a_record_without_a_trial_gives_a_report_without_results(tmp_path: Path) -> None:
    report = report_of(Material.at(write(tmp_path / "empty", (), baseline=None, closed=None)))
    assert [section.anchor for section in report.sections] == SECTIONS
    assert list(report.figures) == []
    assert "No trial has started yet" in said(blocks(report, "searched"))
    assert "No trial has started yet" in said(blocks(report, "best"))
    assert "not closed" in report.subtitle


@pytest.mark.parametrize(
    "trials",
    [
        (Told(LORA, (), None),),
        (Told(LORA, (0.5,), None),),
        (Told(LORA, (0.5,), Outcome.PRUNED),),
        (Told(LORA, (0.5, 0.6), Outcome.STOPPED), Told(LORA, (0.5, 0.5))),
        (Told(LORA, (), Outcome.FAILED, "no room"), Told(LORA, (0.2,), Outcome.DIVERGED, "not finite")),
        (Told({"adapter": "none", "freezing": "full"}, (0.0, 0.0)),) * 12,
    ],
)
def test_little_is_no_reason_to_fail(tmp_path: Path, trials: tuple[Told, ...]) -> None:
    report = report_of(Material.at(write(tmp_path / "young", trials, closed=Ending.INTERRUPTED)))
    assert [section.anchor for section in report.sections] == SECTIONS
    assert all(section.blocks for section in report.sections)


def test_without_a_finished_trial_the_best_is_described_as_a_stopped_one(tmp_path: Path) -> None:
    record = write(tmp_path / "young", (Told(LORA, (0.5,), Outcome.PRUNED),))
    assert "No trial has finished" in said(blocks(report_of(Material.at(record)), "best"))


def test_a_smaller_value_may_be_the_better_one(tmp_path: Path) -> None:
    asked = experiment("loss", objective={"metric": "loss", "mode": "min"})
    report = report_of(Material.at(write(tmp_path / "loss", told(20), of=asked)))
    plot = figure(report, "parallel").plot
    assert isinstance(plot, Parallel)
    values = [line.places[-1] for line in plot.lines[:-1]]
    assert values == sorted(values, reverse=True)  # the better ones on top
    assert plot.lines[-1].places[-1] == min(line.places[-1] for line in plot.lines)
    front = figure(report, "pareto-seconds").plot
    assert isinstance(front, Costs)
    assert min(front.points, key=lambda point: point.y).front


def test_a_designed_experiment_reports_its_comparison_and_no_search(tmp_path: Path) -> None:
    folder = rich(tmp_path / "storage").parent / "digits-ablate-lora.rank"
    report = report_of(Material.at(folder))
    assert "4 is worse than 8" in said(blocks(report, "ablations"))
    assert "the luckiest seed" in said(blocks(report, "best"))
    for anchor in ("importance", "parallel"):
        assert all(isinstance(block, Absent) for block in blocks(report, anchor))
    assert "bservational" not in said(blocks(report, "ablations"))


def test_the_report_of_a_retuning_explains_that_it_compares_nothing(tmp_path: Path) -> None:
    base = choose_base(sweep_in(tmp_path / "digits"))
    spec = spec_of(base, "lora.rank", levels_over("lora.rank", [4, 8]))
    asked = retuning_experiment(base, spec, "digits-ablate-lora.rank-retune", ["learning_rate"], 2)
    tried = [Told(params, (0.3, 0.5)) for params in asked.search.first]
    report = report_of(Material.at(write(tmp_path / asked.name, tried, of=asked)))
    assert "compares nothing; see the report of digits-ablate-lora.rank." in said(blocks(report, "ablations"))
    text = said(blocks(report, "best"))
    assert "retuned settings for each level" in text
    assert "luckiest seed" not in text


def test_intervals_of_an_ap_are_as_many_as_can_be_afforded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "boxes")
    rng = np.random.default_rng(0)
    model = BoxImages(
        ("a", "b"), tuple(map(str, range(25))), np.ones((25, 2), np.int64), np.repeat(np.arange(25), 2),
        np.tile([0, 1], 25), rng.random(50), np.tile(rng.random((50, 1)) < 0.7, (1, 10)),
        np.zeros((50, 10), bool),
    )  # fmt: skip
    for trial in (0, 2, 4):
        write_images(model, image_results(trial_folder(folder, trial)))
    monkeypatch.setattr(material_, "CURVES", 300)  # two curves a resample, of which there are at least 400
    found = Material.at(folder)
    intervals = [found.interval(trial, "map_50") for trial in (0, 2)]
    assert intervals[0] is not None
    assert intervals[1] is None
    assert found.interval(0, "map_50") == intervals[0]


def test_an_ablation_that_cannot_be_read_is_named_and_the_report_continues(tmp_path: Path) -> None:
    folder = rich(tmp_path / "storage")
    ledger = folder.parent / "digits-ablate-lora.rank" / "ledger.jsonl"
    lines = ledger.read_text(encoding="utf-8").splitlines()
    ledger.write_text("\n".join([lines[0], "{torn", *lines[1:]]) + "\n", encoding="utf-8")
    text = said(blocks(report_of(Material.at(folder)), "ablations"))
    assert "Not shown:" in text
    assert "digits-ablate-lora.rank: " in text
    assert "No designed ablation starts from this experiment" in text


# --- bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 7, 40])
def test_a_sample_holds_the_best_and_some_of_all_others(material: Material, most: int) -> None:
    trials = material.sweep.trials
    chosen = sample_trials(trials, most)
    assert len(chosen) == len({trial.number for trial in chosen}) == most
    assert chosen[: most // 2] == trials[: most // 2]
    assert len(spread(trials, most)) == most


def test_many_trials_are_sampled_and_the_caption_tells_it(tmp_path: Path) -> None:
    material = Material.at(many(tmp_path, 300))
    from analysis.report.settings import parallel_section
    from analysis.report.training import CURVES, curves_section

    for section in (curves_section(material), parallel_section(material)):
        (found,) = [block for block in section.blocks if isinstance(block, Figure)]
        assert "of 300 trials: the best" in found.caption
        drawn = found.plot.curves if isinstance(found.plot, Curves) else getattr(found.plot, "lines", ())
        assert len(drawn) <= max(CURVES, 200)


def test_settings_that_are_lists_are_analysed_and_drawn_like_any_other(tmp_path: Path) -> None:
    roles = ["query"], ["query", "value"]
    space = {"learning_rate": {"float": [1e-3, 1e-2], "log": True}, "targets": {"choice": list(roles)}}
    trials = [
        Told({"learning_rate": 0.001 * (n % 9 + 1), "targets": roles[n % 2]}, (0.3 + 0.02 * n,))
        for n in range(16)
    ]
    asked = experiment("lists", space=space, epochs=1)
    report = report_of(Material.at(write(tmp_path / "lists", trials, of=asked)))
    plot = figure(report, "parallel").plot
    assert isinstance(plot, Parallel)
    axis = next(axis for axis in plot.axes if axis.name == "targets")
    assert [name for _, name in axis.ticks] == ["query", "query,value"]
    assert "targets | " in said(blocks(report, "importance"))
