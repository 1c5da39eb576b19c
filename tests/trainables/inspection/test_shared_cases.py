"""Each case of data with one fault: what the page must show of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.inspection.folders import subject_of_folder
from trainables.inspection.inspection import Inspection, Subject, inspect_data
from tuning.experiment.load import load_experiment

CASES = {
    "01-iscrowd-as-text": 'iscrowd is written as text in 24 of 24 entries, such as "0"',
    "02-upright-photos-boxes/turned180": "8 images have an EXIF orientation (8 × orientation 3)",
    "02-upright-photos-boxes/square_sideways": "8 photos have an EXIF orientation, and no size says",
    "02-upright-photos-boxes/no_sizes": "8 images have an EXIF orientation (8 × orientation 6)",
    "04-boxes-as-corners": "boxes must be [x, y, width, height], but by the areas or polygons of 16 of 16",
    "06-hub-xywh-boxes/no_areas": "boxes",
    "06-hub-xywh-boxes/polygon_areas": "boxes",
    "08-image-listed-twice": "8 of 8 file names are listed more than once",
    "10-polygons-without-bbox": "8 of 16 annotations have no `bbox`",
    "11-train-silent-on-dropped-images": "it is 64×64 pixels but annotated as 640×640",
    "12-class-spelled-otherwise-in-validation": "'Red' (did you mean 'red'?)",
    "13-mask-with-transparency": "transparent parts of the mask",
    "14-mask-palette-white-first/no_values": "a palette of two greys with the lighter one first",
    "15-symlinked-subfolder": "link",
    "16-twelve-bits-in-sixteen": "set data.bits: 12 to use the whole range",
    "19-root-class-and-known-labels/with_root": "'digits' is the supercategory of others and has no box",
    "21-objective-without-a-value/no_large_box": "validation has no large box",
    "21-objective-without-a-value/class_absent": "validation has no box of class green",
    "21-objective-without-a-value/only_crowds": "validation: all 8 boxes are crowds",
    "23-ids-of-another-type/image_id_text": "image_id is written as text in 16 of 16",
    "23-ids-of-another-type/category_id_text": "category_id is written as text in 16 of 16",
    "23-ids-of-another-type/category_id_float": "category_id is written as fractions in 16 of 16",
    "24-file-names-from-elsewhere/label_studio": "did you mean 'im00.png'?",
    "24-file-names-from-elsewhere/suffix_case": "did you mean 'im00.png'?",
    "25-masks-named-or-placed-otherwise/mask_suffix": "set data.masks.suffix: _mask",
    "25-masks-named-or-placed-otherwise/one_folder": "set data.masks.suffix",
}
REFUSED = {"04", "12", "21", "24", "25"}


def all_text(found: Inspection) -> str:
    return "\n".join(
        [
            *found.refusals,
            *found.warnings,
            *(sign.text for sign in found.signs),
            *(finding.detail for finding in found.findings),
        ]
    )


@pytest.mark.parametrize("case", CASES)
def test_the_fault_of_the_case_is_said_and_its_images_are_shown(cases: Path, case: str) -> None:
    experiment = load_experiment(cases / case / "exp.yaml")
    workload = experiment.workload
    subject = Subject(experiment.name, experiment.task, experiment.data, experiment.model, workload)
    found = inspect_data(subject)
    assert CASES[case] in all_text(found)
    assert len(found.pictures()) >= 8
    if case[:2] in REFUSED:
        assert found.refusals


def test_real_data(cases: Path) -> None:
    """BCCD was converted from Pascal VOC without subtracting 1: no box begins at 0."""
    data = cases.parent / "data"
    found = inspect_data(subject_of_folder(data / "bccd"), images=4)
    assert {p.label: p.used for p in found.parts} == {"train": 205, "validation": 87, "test": 72}
    assert [sign.text[:18] for sign in found.signs if "Pascal VOC" in sign.text] == ["625 of 625 box sid"]
    masks = inspect_data(subject_of_folder(data / "dsb2018" / "he_stain"), images=4)
    assert sum(p.used for p in masks.parts) == 107
