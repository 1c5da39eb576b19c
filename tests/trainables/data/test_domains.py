from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder, noise, save_mask, workload
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Sequence, Value

from trainables.backbones import EMBEDDED
from trainables.data.domains import open_domains, split_names, training_part
from trainables.data.prepared import Prepared, open_prepared
from trainables.errors import DataError
from trainables.preparation import domain_split, prepare_workload
from trainables.specs.data import Corruption, CorruptionSpec, DomainSpec, Split
from trainables.specs.workload import Task, Workload

CLASSES = ["background", "cell"]


def _ready(of: Workload) -> Prepared:
    return open_prepared(prepare_workload(of))


def _masks(tmp_path: Path, domains: dict[str, Any], **more: Any) -> Workload:
    train = mask_folder(tmp_path / "main", 12)
    data = {"masks": {"train": train, "classes": CLASSES}, "domains": domains} | more
    return workload(Task.SEGMENTATION, data)


def _other_masks(root: Path, count: int = 4) -> dict[str, str]:
    """As `mask_folder`, of images that no other folder has."""
    part = mask_folder(root, count)
    for i in range(count):
        noise(500 + i, 40, 40).save(Path(part["images"]) / f"cell_{i:03d}.jpg")
    return part


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_is_a_test_set_with_the_classes_of_the_data(tmp_path: Path) -> None:
    part = _other_masks(tmp_path / "far")
    of = _masks(tmp_path, {"far": {"masks": part}})
    plain = of.model_copy(update={"data": of.data.model_copy(update={"domains": {}})})
    data, alone = _ready(of), _ready(plain)
    parts = open_domains(data, of)["far"]
    assert parts[Split.TEST].names == [f"cell_{i:03d}.jpg" for i in range(4)]
    assert len(parts[Split.VALIDATION]) == 0
    assert parts[Split.TEST].sizes[0].tolist() == alone.splits[Split.TEST].sizes[0].tolist()
    # Domains do not change the data itself.
    assert data.meta["fingerprint"] == alone.meta["fingerprint"]
    for split in Split:
        assert data.splits[split].path == alone.splits[split].path
    assert data.meta["domain_counts"] == {"far": {"test": 4}}


def test_prepared_once_and_shared(tmp_path: Path, cache: Path) -> None:
    of = _masks(tmp_path, {"far": {"masks": _other_masks(tmp_path / "far")}})
    path = prepare_workload(of)
    before = {p: p.stat().st_mtime_ns for p in cache.rglob("*.arrow")}
    assert prepare_workload(of) == path
    again = of.model_copy(
        update={"data": of.data.model_copy(update={"domains": {"farther": of.data.domains["far"]}})}
    )
    other = prepare_workload(again)
    assert other != path
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.arrow")} == before


def test_a_changed_file_in_a_domain_is_seen_and_the_old_data_stays(tmp_path: Path) -> None:
    part = _other_masks(tmp_path / "far")
    of = _masks(tmp_path, {"far": {"masks": part}})
    before = _ready(of)
    noise(900, 40, 40).save(Path(part["images"]) / "cell_009.jpg")
    save_mask(Path(part["masks"]) / "cell_009.png", np.eye(40, dtype=np.uint8))
    after = _ready(of)
    assert len(open_domains(after, of)["far"][Split.TEST]) == 5
    assert len(open_domains(before, of)["far"][Split.TEST]) == 4


def test_a_domain_may_have_validation_images(tmp_path: Path) -> None:
    far, near = _other_masks(tmp_path / "far"), _other_masks(tmp_path / "near", 3)
    of = _masks(tmp_path, {"far": {"masks": far, "validation": {"masks": near}}})
    parts = open_domains(_ready(of), of)["far"]
    assert (len(parts[Split.TEST]), len(parts[Split.VALIDATION])) == (4, 3)


def test_values_of_the_data_are_those_of_its_domains(tmp_path: Path) -> None:
    part = _other_masks(tmp_path / "far", 1)
    save_mask(Path(part["masks"]) / "cell_000.png", np.array([[0, 255] * 20] * 40, np.uint8))
    train = mask_folder(tmp_path / "main", 12)
    for path in Path(train["masks"]).iterdir():
        save_mask(path, np.where(np.eye(40) > 0, 255, 0).astype(np.uint8))
    data = {
        "masks": {"train": train, "classes": CLASSES, "values": [0, 255]},
        "domains": {"far": {"masks": part}},
    }
    of = workload(Task.SEGMENTATION, data)
    mask = open_domains(_ready(of), of)["far"][Split.TEST].mask(0)
    assert set(np.unique(mask)) == {0, 1}


def test_a_coco_domain_goes_by_names_not_numbers(tmp_path: Path) -> None:
    main = coco_folder(tmp_path / "main", 12)  # cat and dog are numbers 3 and 7
    far = coco_folder(tmp_path / "far", 2, annotations=[box(0, [4, 5, 12, 10], category=1)], start=0)
    file = json.loads(Path(far["annotations"]).read_text())
    file["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "horse"}]
    Path(far["annotations"]).write_text(json.dumps(file))
    of = workload(Task.DETECTION, {"coco": {"train": main}, "domains": {"far": {"coco": far}}})
    data = _ready(of)
    test = open_domains(data, of)["far"][Split.TEST]
    assert [data.classes[i] for i in test.labels(0)] == ["dog"]
    file["annotations"].append(box(1, [4, 5, 12, 10], category=2, id=9))
    Path(far["annotations"]).write_text(json.dumps(file))
    with pytest.raises(
        DataError, match=r"^data.domains.far.coco.annotations: the model has no class 'horse'"
    ):
        prepare_workload(of)


def test_a_hub_domain_is_another_part_of_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")

    def part(first: int, count: int, names: list[str]) -> Dataset:
        rows = [
            {
                "image": noise(first + i),
                "image_id": first + i,
                "objects": {"category": [i % 2], "bbox": [[4.0, 5.0, 16.0, 15.0]]},
            }
            for i in range(count)
        ]
        objects = Sequence(
            {"category": ClassLabel(names=names), "bbox": Sequence(Value("float64"), length=4)}
        )
        features = Features({"image": Image(), "image_id": Value("int64"), "objects": objects})
        return Dataset.from_list(rows, features=features)

    held = {
        "train": part(0, 10, ["cat", "dog"]),
        "winter": part(100, 3, ["dog", "cat"]),
        "sea": part(200, 3, ["dog", "fish"]),
    }
    DatasetDict(held).save_to_disk(tmp_path / "saved")
    source = {"path": str(tmp_path / "saved"), "boxes": "xyxy"}
    of = workload(Task.DETECTION, {"hub": source, "domains": {"cold": {"hub": "winter"}}})
    data = _ready(of)
    test = open_domains(data, of)["cold"][Split.TEST]
    assert test.names == ["100", "101", "102"]
    assert [data.classes[int(test.labels(i)[0])] for i in range(3)] == ["dog", "cat", "dog"]
    wet = workload(Task.DETECTION, {"hub": source, "domains": {"wet": {"hub": "sea"}}})
    with pytest.raises(DataError, match=r"^data.domains.wet.hub: the model has no class 'fish'"):
        prepare_workload(wet)
    absent = workload(Task.DETECTION, {"hub": source, "domains": {"dry": {"hub": "desert"}}})
    with pytest.raises(DataError, match=r"^data.domains.dry: .*no part 'desert'; it has train, winter, sea"):
        prepare_workload(absent)
    again = workload(Task.DETECTION, {"hub": source, "domains": {"same": {"hub": "train[2:5]"}}})
    with pytest.raises(DataError, match=r"no image may be in two parts, but these are: .* of domain same"):
        prepare_workload(again)


# --- embedded scenes and corruptions ----------------------------------------------------------


def test_an_embedded_domain_shows_the_same_scenes_in_another_look() -> None:
    data = {
        "embedded": {"train": 6, "validation": 4, "test": 5},
        "domains": {"rough": {"embedded": "textured"}},
    }
    for task in EMBEDDED:
        of = workload(task, data)
        held = _ready(of)
        for split in (Split.VALIDATION, Split.TEST):
            ours, theirs = open_domains(held, of)["rough"][split], held.splits[split]
            assert ours.names == theirs.names
            for i in range(len(theirs)):
                assert (ours.image(i) != theirs.image(i)).any()
                if task is Task.SEGMENTATION:
                    assert (ours.mask(i) == theirs.mask(i)).all()
                else:
                    assert (ours.boxes(i) == theirs.boxes(i)).all()


def test_a_corruption_needs_no_folder_of_its_own() -> None:
    data = {"embedded": {"train": 6, "validation": 4, "test": 5}}
    grainy = {"domains": {"grainy": {"corruption": {"kind": "noise"}}}}
    of = workload(Task.SEGMENTATION, data | grainy)
    assert prepare_workload(of) == prepare_workload(workload(Task.SEGMENTATION, data))
    parts = open_domains(_ready(of), of)["grainy"]
    assert (len(parts[Split.TEST]), len(parts[Split.VALIDATION])) == (5, 4)


def test_one_domain_by_its_name_or_as_a_value() -> None:
    data = {
        "embedded": {"train": 6, "validation": 4, "test": 5},
        "domains": {"rough": {"embedded": "textured"}, "soft": {"corruption": {"kind": "blur"}}},
    }
    of = workload(Task.SEGMENTATION, data)
    path = prepare_workload(of)
    rough = domain_split(path, of, "rough")
    same = domain_split(path, of, DomainSpec.model_validate_json('{"embedded": "textured"}'))
    assert (rough.image(0) == same.image(0)).all()
    other = domain_split(path, of, DomainSpec.model_validate_json('{"embedded": "noisy"}'))
    assert (rough.image(0) != other.image(0)).any()
    soft = domain_split(path, of, "soft", Split.VALIDATION)
    blur = DomainSpec(corruption=CorruptionSpec(kind=Corruption.BLUR))
    assert (soft.image(0) == domain_split(path, of, blur, Split.VALIDATION).image(0)).all()
    with pytest.raises(DataError, match="there is no domain 'softer'; the data has rough, soft"):
        domain_split(path, of, "softer")


def test_classes_may_be_numbered_by_a_models_order(tmp_path: Path) -> None:
    """As for a model that was trained on other data."""
    of = _masks(tmp_path, {"far": {"masks": _other_masks(tmp_path / "far")}})
    plain, turned = _ready(of), open_prepared(prepare_workload(of, classes=CLASSES[::-1]))
    assert (plain.classes, turned.classes) == (tuple(CLASSES), tuple(CLASSES[::-1]))
    for ours, theirs in (
        (turned.splits[Split.TEST], plain.splits[Split.TEST]),
        (open_domains(turned, of)["far"][Split.TEST], open_domains(plain, of)["far"][Split.TEST]),
    ):
        assert ours.names == theirs.names
        assert (ours.mask(0) == 1 - theirs.mask(0)).all()
    with pytest.raises(DataError, match=r"the model has no class 'cell'; it has background, nucleus; rename"):
        prepare_workload(of, classes=["background", "nucleus"])
    coco = workload(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path / "c", 12)}})
    held = open_prepared(prepare_workload(coco, classes=["bird", "dog", "cat"]))
    assert held.splits[Split.TEST].labels(0).tolist() == [2, 1]  # a cat, then a dog
    with pytest.raises(DataError, match=r"^data.coco.train.annotations: the model has no class 'cat'"):
        prepare_workload(coco, classes=["dog"])


# --- errors -----------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    part = {"images": str(tmp_path / "none"), "masks": str(tmp_path / "none")}
    with pytest.raises(
        DataError, match=r"^data.domains.far.masks.images must be a folder, but there is none"
    ):
        prepare_workload(_masks(tmp_path, {"far": {"masks": part}}))


def test_a_mask_with_an_unknown_value(tmp_path: Path, cache: Path) -> None:
    part = _other_masks(tmp_path / "far")
    save_mask(Path(part["masks"]) / "cell_002.png", np.full((40, 40), 7, np.uint8))
    with pytest.raises(DataError) as raised:
        prepare_workload(_masks(tmp_path, {"far": {"masks": part}}))
    text = str(raised.value)
    assert text.startswith("data.domains.far: data must have no errors with the rule 'stop', got 1:")
    assert "test  cell_002.jpg  bad_mask: values without a class: 7" in text
    assert not [p for p in (cache / "prepared").iterdir() if p.name.endswith(".tmp")]


def test_a_domain_that_nothing_is_left_of(tmp_path: Path) -> None:
    part = _other_masks(tmp_path / "far", 2)
    for path in Path(part["masks"]).iterdir():
        save_mask(path, np.zeros((40, 40), np.uint8))
    with pytest.raises(
        DataError, match=r"^data.domains.far: test must have images, but none of its 2 is left"
    ):
        prepare_workload(_masks(tmp_path, {"far": {"masks": part}}))
    for path in Path(part["images"]).iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"^data.domains.far.masks.images must be a folder with images, but .* has none"
    ):
        prepare_workload(_masks(tmp_path / "again", {"far": {"masks": part}}))


def test_faults_of_a_domain_are_listed_with_its_name(tmp_path: Path) -> None:
    part = _other_masks(tmp_path / "far")
    save_mask(Path(part["masks"]) / "cell_001.png", np.zeros((40, 40), np.uint8))
    faults = _ready(_masks(tmp_path, {"far": {"masks": part}})).meta["faults"]
    assert [(f["split"], f["name"], f["fault"]) for f in faults] == [
        ("test@far", "cell_001.jpg", "empty_mask")
    ]


def test_no_image_is_both_trained_on_and_a_test_under_shift(tmp_path: Path) -> None:
    of = _masks(tmp_path, {})
    assert of.data.masks is not None
    same = DomainSpec(masks=of.data.masks.train)
    leaking = of.model_copy(update={"data": of.data.model_copy(update={"domains": {"same": same}})})
    with pytest.raises(DataError, match=r"no image may be in two parts.*\(train and test of domain same\)"):
        prepare_workload(leaking)


@pytest.mark.parametrize(("number", "root"), [(1, True), (2, False)])
def test_a_coco_domain_has_the_classes_of_the_experiments_definition(
    tmp_path: Path, number: int, *, root: bool
) -> None:
    """The first definition counts an export's root as a class; a domain goes by the classes of the data."""
    parts = {at: coco_folder(tmp_path / at, 6 - i) for i, at in enumerate(("main", "far"))}
    for i, part in enumerate(parts.values()):
        file = json.loads(Path(part["annotations"]).read_text())
        for category in file["categories"]:
            category["supercategory"] = "pets"
        file["categories"].insert(i, {"id": 99, "name": "pets", "supercategory": "none"})
        Path(part["annotations"]).write_text(json.dumps(file))
    of = workload(
        Task.DETECTION,
        {"coco": {"train": parts["main"]}, "domains": {"far": {"coco": parts["far"]}}},
    )
    of = of.model_copy(update={"definitions": of.definitions.model_copy(update={"coco": number})})
    data = _ready(of)
    assert ("pets" in data.classes) is root
    assert open_prepared(data.domains["far"]).classes == data.classes


def test_a_domain_of_another_kind_than_the_data(tmp_path: Path) -> None:
    of = _masks(tmp_path, {"odd": {"embedded": "clean"}})
    with pytest.raises(DataError, match="odd: is of kind embedded, but it must have the classes of the data"):
        prepare_workload(of)


# --- the share that trials use ----------------------------------------------------------------


def _trained_on(of: Workload, fraction: float, seed: int = 0) -> list[str]:
    splits = of.data.splits.model_copy(update={"seed": seed})
    data = of.data.model_copy(update={"train_fraction": fraction, "splits": splits})
    return training_part(_ready(of).splits[Split.TRAIN], data).names


def test_a_smaller_share_lies_inside_a_larger_one_and_nothing_else_changes(tmp_path: Path) -> None:
    of = workload(Task.SEGMENTATION, {"masks": {"train": mask_folder(tmp_path, 40), "classes": CLASSES}})
    every = _ready(of).splits[Split.TRAIN].names
    shares = [set(_trained_on(of, f)) for f in (0.001, 0.1, 0.5, 0.9, 1.0)]
    assert [len(s) for s in shares] == [1, 3, 14, 25, 28]
    assert all(small <= large for small, large in pairwise(shares))
    assert _trained_on(of, 0.5) == [n for n in every if n in shares[2]]  # in their stored order
    assert set(_trained_on(of, 0.5, seed=1)) != shares[2]
    less = of.model_copy(update={"data": of.data.model_copy(update={"train_fraction": 0.1})})
    assert prepare_workload(less) == prepare_workload(of)
    names = split_names(_ready(less), less)
    assert names["train"] == _trained_on(of, 0.1)
    assert names["validation"] == _ready(of).splits[Split.VALIDATION].names
    assert names["test"] == _ready(of).splits[Split.TEST].names


def test_a_share_is_the_whole_in_all_that_is_known_of_its_images(tmp_path: Path) -> None:
    of = workload(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 30)}, "train_fraction": 0.4})
    whole = _ready(of).splits[Split.TRAIN]
    part = training_part(whole, of.data)
    places = [whole.names.index(name) for name in part.names]
    assert 1 < len(part) < len(whole)
    stacked, all_stacked = part.stacked([0, 2]), whole.stacked([places[0], places[2]])
    assert stacked is not None
    assert all_stacked is not None
    assert (stacked == all_stacked).all()
    starts, corners, labels = part.trainable
    every = whole.trainable
    for i, place in enumerate(places):
        assert (part.image(i) == whole.image(place)).all()
        assert part.truth(i).boxes.tolist() == whole.truth(place).boxes.tolist()
        ours, theirs = slice(starts[i], starts[i + 1]), slice(every[0][place], every[0][place + 1])
        assert (corners[ours] == every[1][theirs]).all()
        assert (labels[ours] == every[2][theirs]).all()


def test_what_is_stored_with_an_experiment_names_domains_too(tmp_path: Path) -> None:
    of = _masks(
        tmp_path,
        {"far": {"masks": _other_masks(tmp_path / "far", 2)}, "soft": {"corruption": {"kind": "blur"}}},
    )
    names = split_names(_ready(of), of)
    assert set(names) == {"train", "validation", "test", "domains"}
    assert names["domains"] == {
        "far": {"validation": [], "test": ["cell_000.jpg", "cell_001.jpg"]},
        "soft": {"validation": names["validation"], "test": names["test"]},
    }


def test_the_embedded_backbones_sizes_are_those_of_their_domains() -> None:
    """Sizes of a domain come from the processor, like those of the data."""
    data = {"embedded": {"train": 4, "validation": 2, "test": 2}, "domains": {"n": {"embedded": "noisy"}}}
    of = workload(Task.DETECTION, data)
    settings = json.loads((EMBEDDED[Task.DETECTION] / "preprocessor_config.json").read_text())
    size = [settings["size"]["height"], settings["size"]["width"]]
    assert open_domains(_ready(of), of)["n"][Split.TEST].sizes[0].tolist() == size
