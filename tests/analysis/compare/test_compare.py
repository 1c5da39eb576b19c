"""The comparison of two experiments or two trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ablations import sweep_in
from edited_records import edit_record
from recorded import AFTER, BEFORE, FLOORS, LORA, SCORES, TRIALS, Told, experiment, write

from analysis.compare.sides import CompareError, Side, choose_side, compare_sides
from analysis.compare.tables import compare_tables
from analysis.compare.words import compare_json, compare_sentences
from analysis.query.sweep import Sweep
from trainables.metrics.per_image import MaskImages
from trainables.metrics.per_image import write_per_image as write_images
from trainables.run_folder import image_results
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import PreparedRecord, ScoredRecord
from tuning.ledger.storage import trial_folder


def one(
    folder: Path, number: int | None = None, fingerprint: str = "f", domains: dict[str, str] | None = None
) -> Side:
    name = folder.name if number is None else f"{folder.name}:{number}"
    prepared = PreparedRecord(time=0.0, fingerprint=fingerprint, domains=domains or {})
    return choose_side(name, folder, Sweep.at(folder), number, prepared)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    sweep_in(tmp_path / "digits")
    return tmp_path / "digits"


def cells(table_rows: tuple[tuple[str, ...], ...]) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table_rows}


def test_two_trials_differ_in_settings_and_meet_at_equal_epochs(digits: Path) -> None:
    sides = compare_sides(one(digits, 0), one(digits, 4))
    results, settings, curves = compare_tables(sides)
    assert cells(results.rows)["dice on validation images"] == ("0.7500", "0.7400")
    assert cells(settings.rows)["adapter"] == ("lora", "serial_lora")
    assert "batch_size" not in cells(settings.rows)
    assert [row[0] for row in curves.rows] == ["1", "2", "3", "4"]  # trial 4 ended itself there
    assert curves.rows[1] == ("2", "0.5000", "0.7400", "−0.2400")
    assert sides.file == ()
    assert "Not compared over test images: no results by image" in compare_sentences(sides)[0]


def test_an_experiment_is_compared_by_its_best_finished_trial_and_its_file(
    digits: Path, tmp_path: Path
) -> None:
    asked = experiment("other", epochs=4, trial={"epochs": 4, "batch_size": 8})
    told = (Told(LORA | {"learning_rate": 0.004, "lora.rank": 4}, (0.2, 0.3, 0.4, 0.5)),)
    sides = compare_sides(one(digits), one(write(tmp_path / "other", told, of=asked), fingerprint="g"))
    assert (sides.one.trial.number, sides.other.trial.number) == (0, 0)
    results, keys, settings, _ = compare_tables(sides)
    assert cells(keys.rows)["trial.batch_size"] == ("16", "8")
    assert cells(settings.rows)["lora.rank"] == ("8", "4")
    assert cells(results.rows)["trials (finished)"] == ("7 (3)", "1 (1)")
    assert "may be from different images: their prepared data differ" in results.caption
    assert "The budgets differ: 6 and 4 epochs" in results.caption


def test_what_was_cut_short_or_judged_otherwise_is_pointed_out(digits: Path, tmp_path: Path) -> None:
    assert "digits:1 is pruned after 2 of 6 epochs" in " ".join(
        compare_sides(one(digits, 1), one(digits)).caution
    )
    asked = experiment("low", objective={"metric": "loss"})
    low = write(tmp_path / "low", (Told(LORA, (0.2,) * 6),), of=asked)
    sides = compare_sides(one(digits), one(low))
    assert "The objectives differ: dice (best report) and loss (best report)" in " ".join(sides.caution)
    assert "objective on validation images" in cells(compare_tables(sides)[0].rows)
    assert not any("equal epochs" in table.title for table in compare_tables(sides))


def test_test_values_and_domains_have_rows(tmp_path: Path) -> None:
    from recorded import DOMAINS

    asked = experiment("shifted", data={"embedded": {"domain": "inverted"}, "domains": DOMAINS})
    folder = write(tmp_path / "shifted", TRIALS, of=asked, scores=SCORES)
    rows = cells(compare_tables(compare_sides(one(folder, 0), one(folder, 4)))[0].rows)
    assert rows["dice on test images"] == ("0.7000", "0.8000")
    assert rows["dice in noisy"] == ("0.6300", "0.4000")


def _kept(seed: int) -> MaskImages:
    right = np.random.default_rng(seed).integers(20 + 20 * seed, 30 + 20 * seed, (30, 1))
    counts = np.stack([np.c_[right, right], np.full((30, 2), 60), np.full((30, 2), 60)], axis=1)
    return MaskImages(("a", "b"), tuple(map(str, range(30))), counts.astype(np.int64))


def _scored(folder: Path, domain: str | None = None) -> Path:
    for trial in (0, 4):
        write_images(_kept(int(trial == 0)), image_results(trial_folder(folder, trial), domain))
    return folder


def test_images_of_the_same_names_are_paired_only_where_the_prepared_data_are_the_same(
    digits: Path, tmp_path: Path
) -> None:
    twin = _scored(write(tmp_path / "twin"))
    here = one(_scored(digits), 0)
    said = compare_sentences(compare_sides(here, one(digits, 4)))[0]
    assert said.startswith("Over test images: dice: digits:0 is better than digits:4: difference +0.3")
    assert compare_sides(here, one(twin, 4)).images is not None
    other = compare_sides(here, one(twin, 4, fingerprint="g"))
    assert other.images is None
    assert "Not compared over test images: their prepared data differ" in compare_sentences(other)[0]


def test_an_objective_in_a_domain_is_compared_over_the_images_of_that_domain(tmp_path: Path) -> None:
    def judged(name: str, severity: int) -> Path:
        blurred = {"corruption": {"kind": "brightness", "severity": severity}}
        asked = experiment(
            name, objective={"metric": "dice@dim"}, data={"embedded": {}, "domains": {"dim": blurred}}
        )
        folder = write(tmp_path / name, of=asked)
        edit_record(folder, lambda text: text.replace('"metrics":{"dice":', '"metrics":{"dice@dim":'))
        return _scored(folder, "dim")

    folder = judged("shifted", 3)
    found = compare_sides(one(folder, 0), one(folder, 4))
    assert found.images is not None
    assert "the first is better" in found.images.sentence
    harder = compare_sides(one(folder, 0), one(judged("harder", 5), 4))
    assert harder.images is None
    assert "define domain dim differently" in harder.no_images


def test_domains_are_the_same_images_by_content_wherever_they_are(tmp_path: Path) -> None:
    def stained(name: str) -> Path:
        folders = {"images": str(tmp_path / name), "masks": str(tmp_path / name)}
        asked = experiment(
            name,
            objective={"metric": "dice@stain"},
            data={"embedded": {}, "domains": {"stain": {"masks": folders}}},
        )
        scored = [
            ScoredRecord(time=1.0, trial=t, metrics={"dice": 0.5}, domains={"stain": {"dice": 0.4}})
            for t in (0, 4)
        ]
        folder = write(tmp_path / name, of=asked, scores=scored)
        edit_record(folder, lambda text: text.replace('"metrics":{"dice":', '"metrics":{"dice@stain":'))
        return _scored(folder, "stain")

    here, moved = stained("here"), stained("moved")
    side = one(here, 0, domains={"stain": "s"})
    same = compare_sides(side, one(moved, 4, domains={"stain": "s"}))
    assert same.images is not None
    rows = cells(compare_tables(same)[0].rows)
    assert rows["dice@stain on test images"] == rows["dice in stain"] == ("0.4000", "0.4000")
    assert not any("different images" in caution for caution in same.caution)
    changed = compare_sides(side, one(moved, 4, domains={"stain": "t"}))
    assert changed.no_images == "the images of domain stain differ"
    assert any("The values in stain may be from different images" in caution for caution in changed.caution)
    before = compare_sides(side, one(moved, 4))  # its record has no fingerprint of the domain
    assert "define domain stain differently" in before.no_images


def test_a_trial_with_itself_and_one_that_does_not_exist(digits: Path, tmp_path: Path) -> None:
    same = compare_sides(one(digits), one(digits))
    assert "both are the same trial" in compare_sentences(same)[0]
    assert same.settings == {}
    assert compare_tables(same)[0].columns == ("", "digits (first)", "digits (second)")
    with pytest.raises(CompareError, match="digits has no trial 9; it has 7 trials, numbered from 0"):
        one(digits, 9)
    lost = write(tmp_path / "lost", (Told(LORA, (0.1,), Outcome.DIVERGED),))
    with pytest.raises(CompareError, match="lost has no trial with a value to compare"):
        one(lost)


def test_json_holds_the_whole_comparison(digits: Path) -> None:
    whole = compare_json(compare_sides(one(digits, 0), one(digits, 4)))
    assert whole["a"]["validation"] == 0.75  # type: ignore[index,call-overload]
    assert whole["settings_differ"]["adapter"] == {"a": "lora", "b": "serial_lora"}  # type: ignore[index,call-overload]
    assert whole["over_test_images"] is None


def _worth(folder: Path, definitions: dict[str, int], above: tuple[float, float] | None = None) -> Path:
    asked = experiment(folder.name, definitions=definitions)
    told = Told(LORA, (0.31,) * 6, above_floor=() if above is None else (above,) * 6)
    scores = [ScoredRecord(trial=0, epoch=1.0, metrics={"dice": 0.3})]
    floors = None if definitions == BEFORE else FLOORS
    return write(folder, [told], of=asked, scores=scores, floors=floors)


def test_floors_stand_below_the_values_and_what_has_collapsed_is_said(tmp_path: Path) -> None:
    lost = one(_worth(tmp_path / "lost", AFTER, (-0.1, 0.1)))
    sides = compare_sides(lost, one(_worth(tmp_path / "found", AFTER, (0.01, 0.1))))
    rows = cells(compare_tables(sides)[0].rows)
    assert rows["floor of dice on validation images"] == ("0.3000", "0.3000")
    assert rows["floor of dice on test images"] == ("0.2000", "0.2000")
    said = " ".join(sides.caution)
    assert "lost has collapsed. collapsed: no better than a constant predictor" in ". ".join(sides.caution)
    assert "found has collapsed" not in said
    whole = compare_json(sides)
    assert (whole["a"]["collapsed"], whole["b"]["collapsed"]) == (True, False)  # type: ignore[index,call-overload]
    assert whole["a"]["test_floor"] == 0.2  # type: ignore[index,call-overload]


def test_a_metric_under_two_definitions_is_not_compared(tmp_path: Path) -> None:
    old, new = _worth(tmp_path / "old", BEFORE), _worth(tmp_path / "new", AFTER, (0.01, 0.1))
    sides = compare_sides(one(old), one(new))
    assert "The values measure different things, although their metric has one name: dice is defined as" in (
        " ".join(sides.caution)
    )
    assert sides.no_images.startswith("dice is defined as")
    assert not any("equal epochs" in table.title for table in compare_tables(sides))
    assert "floor of dice on validation images" in cells(compare_tables(sides)[0].rows)
    both = compare_sides(one(old), one(_worth(tmp_path / "older", BEFORE)))
    assert not any("different things" in caution for caution in both.caution)
    assert "floor of dice on validation images" not in cells(compare_tables(both)[0].rows)
