"""Invalid data sections, each with its message and line, and valid ones."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import ExperimentFileError
from trainables.specs.data import Corruption, Domain
from trainables.specs.workload import Direction
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment
from tuning.experiment.write import experiment_yaml

MASKS = "  masks:\n    train: {images: train/x, masks: train/y}\n    classes: [ground, cell]\n"
HEAD = "name: pets\ntask: {task}\nobjective: {{metric: {metric}}}\ndata:\n"


def _file(tmp_path: Path, data: str, metric: str = "dice", task: str = "segmentation") -> Path:
    file = tmp_path / "pets.yaml"
    file.write_text(HEAD.format(task=task, metric=metric) + data + "\n")
    return file


def _domain(text: str, source: str = MASKS) -> str:
    """A data section with one domain, in line 9 of a file with masks."""
    return f"{source}  domains:\n    far: {text}"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            MASKS + "  train_fraction: 0",
            "line 8  data.train_fraction  must be above 0, got 0",
        ),
        (
            MASKS + "  train_fraction: 1.5",
            "line 8  data.train_fraction  must be at most 1, got 1.5",
        ),
        (
            MASKS + "  splits: {folds: 1}",
            "line 8  data.splits.folds  must be at least 2, got 1",
        ),
        (
            MASKS + "  splits: {folds: 3, fold: 3}",
            "line 8  data.splits  fold must be 0 to 2 of 3 folds, got 3",
        ),
        (
            MASKS + "  splits: {fold: 2}",
            "line 8  data.splits  fold 2 needs folds: the number of parts to divide the images into",
        ),
        (
            "  embedded: {}\n  splits: {folds: 3}",
            "line 6  data.splits.folds  divides the images of train, but the data already has validation images; remove folds, or remove the validation images",
        ),
        (
            _domain("{corruption: {kind: fog}}"),
            "line 9  data.domains.far.corruption.kind  must be one of blur, noise, contrast, brightness, jpeg, style, got 'fog'",
        ),
        (
            _domain("{corruption: {kind: blurr}}"),
            "line 9  data.domains.far.corruption.kind  must be one of blur, noise, contrast, brightness, jpeg, style, got 'blurr'; did you mean 'blur'?",
        ),
        (
            _domain("{corruption: {kind: blur, severity: 9}}"),
            "line 9  data.domains.far.corruption.severity  must be at most 5, got 9",
        ),
        (
            _domain("{corruption: {kind: blur, strength: 2}}"),
            "line 9  data.domains.far.corruption.strength  unknown key; available: kind, severity",
        ),
        (
            _domain("{corrupton: {kind: blur}}"),
            "line 9  data.domains.far.corrupton  unknown key; did you mean 'corruption'?",
        ),
        (
            _domain("{}"),
            "line 9  data.domains.far  needs exactly one of masks, coco, voc, yolo, labelme, hub, embedded, corruption; got none",
        ),
        (
            _domain("{embedded: noisy, corruption: {kind: blur}}"),
            "line 9  data.domains.far  needs exactly one of masks, coco, voc, yolo, labelme, hub, embedded, corruption; got embedded and corruption",
        ),
        (
            _domain("{embedded: noisy}"),
            "line 9  data.domains.far.embedded  is of kind embedded, but it must have the classes of the data, which is masks; use masks: {…}, or corruption: {kind: blur, severity: 3}",
        ),
        (
            _domain("{masks: {images: train/x, masks: other}, validation: {coco: {images: a, annotations: b}}}"),
            "line 9  data.domains.far  of kind masks needs validation of the same kind, got coco",
        ),
        (
            _domain("{corruption: {kind: blur}, validation: {hub: b}}"),
            "line 9  data.domains.far  of kind corruption has validation images already, those of the data; remove validation",
        ),
        (
            _domain("{masks: {images: train/x, masks: train/y}}"),
            "line 9  data.domains.far.masks  uses the images of data.masks.train, which trials are trained or selected on; use other images",
        ),
        (
            _domain("{masks: {images: a, masks: b}, validation: {masks: {images: train/x, masks: train/y}}}"),
            "line 9  data.domains.far.validation.masks  uses the images of data.masks.train, which trials are trained or selected on; use other images",
        ),
        (
            _domain("{corruption: {kind: jpeg}}", MASKS + "  splits: {train: 0.8, validation: 0.2, test: 0}\n"),
            "line 10  data.domains.far  is a corruption of test images, but the data has none; set data.splits.test above 0",
        ),
        (
            _domain("{embedded: inverted}", "  embedded: {}\n"),
            "line 7  data.domains.far.embedded  is inverted, the same as data.embedded.domain; use another one",
        ),
        (
            f"{MASKS}  domains:\n    far away: {{corruption: {{kind: blur}}}}",
            "line 8  data.domains  names must consist of letters, digits, '_' and '-', got 'far away'",
        ),
        (
            f"{MASKS}  domains: [far]",
            "line 8  data.domains  must be a mapping, got [\"far\"]",
        ),
    ],
)  # fmt: skip
def test_an_invalid_section_is_an_error_with_its_line(tmp_path: Path, data: str, expected: str) -> None:
    with pytest.raises(ExperimentFileError) as raised:
        load_experiment(_file(tmp_path, data))
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert expected in lines, "\n".join(lines)


FAR = _domain("{masks: {images: a, masks: b}}")


@pytest.mark.parametrize(
    ("data", "metric", "expected"),
    [
        (MASKS, "dice@far", "is measured in a shifted domain, but the data has none; add one, such as data.domains: {blurred: {corruption: {kind: blur}}}"),
        (MASKS, "robustness", "is measured in a shifted domain, but the data has none; add one, such as data.domains: {blurred: {corruption: {kind: blur}}}"),
        (FAR, "dice@farr", "there is no domain 'farr'; did you mean 'far'?"),
        (FAR, "iou@far", "needs validation images in domain far, which has test images only; add data.domains.far.validation, or use another objective"),
        (FAR, "robustness", "needs validation images in domain far, which has test images only; add data.domains.far.validation, or use another objective"),
        (FAR, "robustness@far", "needs validation images in domain far, which has test images only; add data.domains.far.validation, or use another objective"),
        (FAR, "dise@far", "segmentation has no metric 'dise@far'; did you mean 'dice@far'?"),
        (FAR, "robustnes", "segmentation has no metric 'robustnes'; did you mean 'robustness'?"),
        (FAR, "map@far", "segmentation has no metric 'map@far'; it has dice, iou, soft_dice, loss, dice_with_background, iou_with_background, dice_worst, iou_worst, dice/CLASS, iou/CLASS, METRIC@DOMAIN, robustness, robustness@DOMAIN"),
        (FAR, "dice@far/cell", "segmentation has no metric 'dice@far/cell'; did you mean 'dice/cell@far'?"),
    ],
)  # fmt: skip
def test_an_objective_under_shift_needs_validation_images_there(
    tmp_path: Path, data: str, metric: str, expected: str
) -> None:
    with pytest.raises(ExperimentFileError) as raised:
        load_experiment(_file(tmp_path, data, metric))
    assert f"line 3  objective.metric  {expected}" in [
        line.strip() for line in str(raised.value).splitlines()
    ]


def test_the_direction_of_an_objective_under_shift(tmp_path: Path) -> None:
    data = _domain("{corruption: {kind: blur}}")
    for metric, direction in (("loss@far", "min"), ("dice@far", "max"), ("robustness", "max")):
        experiment = load_experiment(_file(tmp_path, data, metric))
        assert experiment.workload.direction is Direction(direction)
        assert experiment.workload.watched == ("far",)
    with pytest.raises(ExperimentFileError, match="loss is better when smaller"):
        load_experiment(_file(tmp_path, data, "loss@far, mode: max"))


def test_paths_of_domains_are_relative_to_the_file_and_those_of_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    far = "{masks: {images: a, masks: ../b}, validation: {masks: {images: v, masks: w}}}"
    file = _file(tmp_path, _domain(far))
    domain = load_experiment(file, ["data.domains.far.masks.masks=c"]).data.domains["far"]
    assert domain.masks is not None
    assert domain.validation is not None
    assert domain.validation.masks is not None
    assert domain.masks.images == str(tmp_path / "a")
    assert domain.masks.masks == str(tmp_path / "elsewhere" / "c")
    assert domain.validation.masks.images == str(tmp_path / "v")
    kept = load_experiment(file)
    assert kept.data.domains["far"].masks is not None
    assert kept.data.domains["far"].masks.masks == str(tmp_path.parent / "b")


def test_data_with_domains_goes_round_as_json_and_as_yaml(tmp_path: Path) -> None:
    data = (
        "  embedded: {train: 8}\n  train_fraction: 0.5\n  domains:\n    rough: {embedded: textured}\n"
        "    soft: {corruption: {kind: blur, severity: 2}}"
    )
    experiment = load_experiment(_file(tmp_path, data, "robustness@rough"))
    assert experiment.data.domains["rough"].embedded is Domain.TEXTURED
    soft = experiment.data.domains["soft"].corruption
    assert soft is not None
    assert (soft.kind, soft.severity) == (Corruption.BLUR, 2)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    again = tmp_path / "again.yaml"
    again.write_text(experiment_yaml(experiment, {}))
    assert load_experiment(again).data == experiment.data
    overrides = [
        "data.domains.soft.corruption.severity=5",
        "data.domains.rough=null",
        "objective.metric=dice",
    ]
    (changed,) = load_experiment(again, overrides).data.domains.values()
    assert changed.corruption == soft.model_copy(update={"severity": 5})


def test_folds_go_round_too(tmp_path: Path) -> None:
    experiment = load_experiment(_file(tmp_path, MASKS + "  splits: {test: 0.2, folds: 5, fold: 4, seed: 3}"))
    assert Experiment.model_validate_json(experiment.model_dump_json()).data == experiment.data
