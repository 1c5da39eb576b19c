"""Several objectives in what is shown: the front, feasible trials first, the hypervolume."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from recorded import LORA, Told, compacted, experiment, write

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sql import opened
from analysis.query.sweep import Sweep
from analysis.ranking.best import Ranking, best_of, rank
from analysis.ranking.best_table import best_json, best_rows, best_table
from analysis.ranking.hypervolume import growth, hypervolume
from analysis.ranking.objectives_front import front_json, front_table, objectives_front
from analysis.ranking.rank_by_sql import best_number, rank_by_sql
from analysis.report.build import report_of
from analysis.report.inputs import Material
from analysis.report.markdown import report_markdown
from tuning.ledger.outcomes import Outcome
from tuning.ranking.front import front_of

GOALS = {
    "further": [{"metric": "parameters"}],
    "constraints": {"peak_mb": {"at_most": 900}},
}
KEPT = (
    (0.70, 4000, 500.0, Outcome.COMPLETED),  # 0: beaten by 3
    (0.80, 9000, 500.0, Outcome.COMPLETED),  # 1: the best that keeps the bound
    (0.40, 1000, 500.0, Outcome.EARLY_STOPPED),  # 2: the cheapest
    (0.75, 3000, 500.0, Outcome.COMPLETED),  # 3
    (0.95, 500, 950.0, Outcome.COMPLETED),  # 4: best in everything, and outside
    (0.99, 100, 500.0, Outcome.PRUNED),  # 5: stopped early
)


def trials(kept: tuple[tuple[float, int, float, Outcome], ...] = KEPT) -> list[Told]:
    return [
        Told(
            LORA | {"learning_rate": 0.001 + 0.0001 * n, "lora.rank": 4},
            (dice / 2, dice),
            outcome,
            values={"dice": dice, "parameters": float(parameters), "peak_mb": peak},
            broken=["peak_mb"] if peak > 900 else [],
        )
        for n, (dice, parameters, peak, outcome) in enumerate(kept)
    ]


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["lines", "parquet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("storage") / "two"
    return compacted(write(at, trials(), of=experiment("two", **GOALS)), request.param)


def by_sql(folder: Path, **asked: object) -> Ranking:
    with opened([folder]) as source:
        return rank_by_sql(source, 10, **asked)  # type: ignore[arg-type]


def test_the_front_holds_what_no_other_trial_beats(folder: Path) -> None:
    found = objectives_front(Sweep.at(folder))
    assert [each.trial for each in found.front] == [1, 3, 2]
    assert [each.trial for each in found.trials] == [0, 1, 2, 3]
    assert found.left_out == {"infeasible": 1, "pruned": 1}
    table = front_table(found)
    assert table.columns == ("trial", "dice", "trainable parameters", "peak memory in MB", "settings")
    assert table.rows[0][:4] == ("1", "0.8000", "9,000", "500")
    assert "Only trials with peak_mb at most 900 are compared" in table.caption
    shown = front_json(found)
    assert shown["objectives"] == {"dice": "max", "parameters": "min"}
    assert isinstance(each := shown["trials"], list)
    assert [trial["trial"] for trial in each if trial["front"]] == [1, 2, 3]  # type: ignore[index,call-overload]


@pytest.mark.parametrize("asked", [{}, {"metric": "loss"}, {"at": 2.0}, {"early_stopped": True}])
def test_sql_and_python_rank_the_feasible_trials_by_the_first_objective(
    folder: Path, asked: dict[str, object]
) -> None:
    one, other = by_sql(folder, **asked), rank(Sweep.at(folder), **asked)  # type: ignore[arg-type]
    assert [trial.number for trial, _ in one.ranked] == [trial.number for trial, _ in other.ranked]
    assert 4 not in [trial.number for trial, _ in one.ranked]
    assert one.left_out == other.left_out
    assert one.left_out["infeasible"] == 1
    assert one.weighed == other.weighed
    assert one.weighed is not None
    assert one.weighed.front == (1, 3, 2)


def test_best_says_so_and_shows_the_other_values(folder: Path) -> None:
    ranking = by_sql(folder)
    table = best_table(ranking, 10)
    assert [row[1] for row in table.rows] == ["1", "3", "0", "2"]
    assert "dice is the first of 2 objectives (dice, parameters)" in table.caption
    assert "On their front: trials 1, 3, 2" in table.caption
    assert "Only trials with peak_mb at most 900 are ranked" in table.caption
    assert "Not ranked: 1 infeasible, 1 pruned" in table.caption
    assert table.rows[0][table.columns.index("peak_mb")] == "500"
    shown = best_json(ranking, 1)
    assert shown["front"] == [1, 3, 2]
    assert shown["constraints"] == {"peak_mb": {"at_most": 900.0}}
    rows = best_rows(ranking, 10)
    assert [row["front"] for row in rows] == [True, True, False, True]
    assert rows[0]["objectives.parameters"] == 9000.0
    assert best_number(folder) == 1


def test_with_no_feasible_trial_the_reason_is_said(tmp_path: Path) -> None:
    outside = tuple((dice, count, 950.0, outcome) for dice, count, _, outcome in KEPT)
    at = write(tmp_path / "none", trials(outside), of=experiment("none", **GOALS))
    with pytest.raises(NothingToRankError, match="no trial that could be ranked keeps the constraints"):
        best_of(by_sql(at))
    with pytest.raises(NothingToRankError, match=r"within the constraints .*5 infeasible, 1 pruned"):
        objectives_front(Sweep.at(at))


def test_one_objective_has_no_front(tmp_path: Path) -> None:
    at = write(tmp_path / "one")
    assert by_sql(at).weighed is None
    with pytest.raises(QueryError, match="one has one objective"):
        objectives_front(Sweep.at(at))


def test_the_report_draws_the_front_and_how_it_grew(folder: Path) -> None:
    document = report_of(Material.at(folder))
    drawn = {figure.name: figure for figure in document.figures}
    assert {"objectives-parameters", "hypervolume"} <= drawn.keys()
    assert "on the front: trial 1, trial 3, trial 2" in drawn["objectives-parameters"].alt
    section = next(section for section in document.sections if section.anchor == "objectives")
    assert len(section.blocks) == 3
    assert "The front of the objectives" in report_markdown(document, "figures")


# --- the front and the hypervolume ------------------------------------------------------------


def test_of_equal_trials_the_first_is_on_the_front() -> None:
    assert front_of([(3, (1.0, 2.0)), (1, (1.0, 2.0)), (2, (2.0, 1.0)), (4, (2.0, 2.0))]) == (1, 2)


def test_the_hypervolume_of_boxes_that_overlap_is_counted_once() -> None:
    assert hypervolume([]) == 0.0
    assert hypervolume([(0.25,)]) == 0.75
    assert hypervolume([(0.5, 0.0), (0.0, 0.5)]) == pytest.approx(0.75)
    assert hypervolume([(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)]) == 1.0
    assert hypervolume([(0.5, 0.5, 0.5)]) == pytest.approx(0.125)
    assert hypervolume([(1.0, 0.0)]) == 0.0


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_it_is_that_of_a_fine_grid(objectives: int) -> None:
    draw, steps = random.Random(objectives), 8
    points = [tuple(draw.randrange(steps) / steps for _ in range(objectives)) for _ in range(12)]
    cells, inside = steps**objectives, 0
    for cell in range(cells):
        corner = [(cell // steps**place) % steps / steps for place in range(objectives)]
        inside += any(all(p <= c for p, c in zip(point, corner, strict=True)) for point in points)
    assert hypervolume(points) == pytest.approx(inside / cells)


def test_it_grows_with_each_trial_of_the_front_within_the_box_of_all() -> None:
    assert growth([]) == []
    assert growth([(3.0, 7.0)]) == [1.0]
    found = growth([(0.0, 10.0), (10.0, 0.0), (5.0, 5.0), (6.0, 6.0), (2.0, 2.0)])
    assert found == [0.0, 0.0, pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.64)]
