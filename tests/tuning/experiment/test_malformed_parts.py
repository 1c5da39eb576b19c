"""Malformed parts around the settings, such as objective, data and views, each with the whole message."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import VALID, Case, case, label, lines_of, loaded, message_of

CASES = [
    case(
        "line 3  objective.metric  segmentation has no metric 'mAP'; it has dice, iou, soft_dice, loss, dice_with_background, iou_with_background, dice_worst, iou_worst, dice/CLASS, iou/CLASS",
        objective="objective: {metric: mAP}",
    ),
    case(
        "line 3  objective.metric  segmentation has no metric 'dise'; did you mean 'dice'?",
        objective="objective: {metric: dise}",
    ),
    case(
        "line 3  objective.mode  dice is better when larger; use max or leave mode out",
        objective="objective: {metric: dice, mode: min}",
    ),
    case(
        "line 3  objective.mode  must be one of max, min, got 'maximize'; did you mean 'max'?",
        objective="objective: {metric: dice, mode: maximize}",
    ),
    case(
        "line 3  objective  must be a mapping, got 'dice'",
        objective="objective: dice",
    ),
    case(
        "line 3  objective.metric  segmentation has no metric 'soft_dice/cat'; did you mean 'soft_dice'?",
        objective="objective: {metric: soft_dice/cat}",
    ),
    case(
        "line 10  scoring.trials  must be one of finalists, adapters, each, none, got 'finalist'; did you mean 'finalists'?",
        scoring="scoring: {trials: finalist}",
    ),
    case(
        "line 10  scoring.finalists  must be at least 1, got 0",
        scoring="scoring: {finalists: 0}",
    ),
    case(
        "line 10  confirm.seeds  must be at least 1, got 0",
        confirm="confirm: {seeds: 0}",
    ),
    case(
        "line 10  confirm.folds  must be at least 2, got 1",
        confirm="confirm: {folds: 1}",
    ),
    case(
        "line 10  confirm  takes seeds or folds, not both, as each fold has a seed of its own; remove one",
        confirm="confirm: {seeds: 5, folds: 5}",
    ),
    case(
        "line 4  trial.fold  needs data.splits.folds, the number of parts, such as folds: 5",
        trial="trial: {epochs: 6, fold: 1}",
    ),
    case(
        "line 7  space.fold  must be 0 to 2 of 3 folds, got 3",
        space="space:\n  lora.rank: {choice: [4, 8]}\n  fold: {choice: [0, 3]}",
        data="data: {masks: {train: {images: a, masks: b}, classes: [x, y]}, splits: {folds: 3}}",
    ),
    case(
        "line 10  confirm.trails  unknown key; did you mean 'trials'?",
        confirm="confirm: {trails: 3}",
    ),
    case(
        "line 10  data.masks  has no boxes, which task detection needs; use one of embedded, coco, hub, yolo, voc, labelme, folder",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {masks: {train: {images: a, masks: b}, classes: [x, y]}}",
    ),
    case(
        "line 10  data  needs exactly one source of embedded, coco, masks, hub, yolo, voc, labelme, folder; got none",
        data="data: {}",
    ),
    case(
        "line 10  data  needs exactly one source of embedded, coco, masks, hub, yolo, voc, labelme, folder; got embedded, coco",
        data="data: {embedded: {}, coco: {train: {images: a, annotations: b}}}",
    ),
    case(
        "line 10  data.masks.classes      is missing; add it",
        "line 10  data.masks.train.masks  is missing; add it",
        data="data: {masks: {train: {images: a}}}",
    ),
    case(
        "line 10  data.yolo.file  is missing; add it",
        "line 10  data.yolo.path  unknown key; available: file",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {yolo: {path: data.yaml}}",
    ),
    case(
        "line 10  data.voc  has no masks, which task segmentation needs; use one of embedded, masks, hub, coco, yolo, labelme, folder",
        data="data: {voc: {train: {images: a, annotations: b}}}",
    ),
    case(
        "line 1   model.name  task instance_segmentation has no embedded backbone, got 'embedded'; give a checkpoint, as a folder in hub format or a hub id",
        "line 10  data.voc    has no masks of single objects, which task instance_segmentation needs; use one of embedded, coco, yolo, labelme, folder",
        task="task: instance_segmentation",
        objective="objective: {metric: map}",
        data="data: {voc: {train: {images: a, annotations: b}}}",
    ),
    case(
        "line 4  trial.loss       applies to task segmentation only; instance_segmentation uses the model's own",
        "line 4  trial.head.norm  applies to task segmentation only; instance_segmentation uses the model's own",
        task="task: instance_segmentation",
        objective="objective: {metric: map_50/cat}",
        trial="trial: {loss: dice, head: {norm: true}}",
        model="model: {name: Roboflow/rf-detr-seg-nano}",
        data="data: {coco: {train: {images: a, annotations: b}}}",
    ),
    case(
        "line 10  model.name  must be a folder in hub format, a hub id or 'embedded', not an address; a token for private models is in HF_TOKEN, another server in HF_ENDPOINT",
        model="model: {name: 'https://me:secret@hub.example/org/vit'}",
    ),
    case(
        "line 10  model.name  must be a folder in hub format, a hub id or 'embedded', not an address; a token for private models is in HF_TOKEN, another server in HF_ENDPOINT",
        model="model: {name: 'me:secret@org/vit'}",
    ),
    case(
        "line 10  data.voc.train.annotations  is missing; add it",
        "line 10  data.voc.difficult          must be one of ignore, count, got 'drop'",
        "line 10  data.voc.coordinates        must be one of pixels, edges, got 0",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {voc: {train: {images: a}, difficult: drop, coordinates: 0}}",
    ),
    case(
        "line 10  data.labelme.train.folder  is missing; add it",
        "line 10  data.labelme.train.images  unknown key; available: folder",
        data="data: {labelme: {train: {images: a}}}",
    ),
    case(
        'line 10  data.folder  must be text, got {"path": "a"}',
        data="data: {folder: {path: a}}",
    ),
    case(
        "line 10  data  needs exactly one source of embedded, coco, masks, hub, yolo, voc, labelme, folder; got masks, folder",
        data="data: {folder: a, masks: {train: {images: a, masks: b}, classes: [x, y]}}",
    ),
    case(
        "line 10  data.hub.boxes  must be one of xyxy, xywh, got 'xyhw'; did you mean 'xywh'?",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {hub: {path: a/b, boxes: xyhw}}",
    ),
    case(
        "line 10  data.hub.mask     is for masks, but task detection reads boxes; remove it",
        "line 10  data.hub.classes  is for masks, but task detection reads boxes; remove it",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {hub: {path: a/b, mask: label, classes: [a, b]}}",
    ),
    case(
        "line 10  data.hub.classes  is missing; name the classes of the masks in the order of their values, such as [background, cell]",
        "line 10  data.hub.boxes    is for boxes, but task segmentation reads masks; remove it",
        data="data: {hub: {path: a/b, boxes: xywh}}",
    ),
    case(
        "line 10  data.hub.background  must be one of classes (a, b), got 'c'",
        data="data: {hub: {path: a/b, classes: [a, b], background: c}}",
    ),
    case(
        "line 10  data.hub.values  needs one grey value for each of the 2 classes, got 1",
        data="data: {hub: {path: a/b, classes: [a, b], values: [3]}}",
    ),
    case(
        "line 10  data.voc.classes  must have at least 1 item, got 0",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {voc: {train: {images: a, annotations: b}, classes: []}}",
    ),
    case(
        "line 10  data.domains.far.yolo.part  must be one of train, val, test, got 'tset'; did you mean 'test'?",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {yolo: {file: a}, domains: {far: {yolo: {file: b, part: tset}}}}",
    ),
    case(
        "line 10  data.domains.low.coco  is of kind coco, but it must have the classes of the data, which is yolo; use yolo: {…}, or corruption: {kind: blur, severity: 3}",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {yolo: {file: a}, domains: {low: {coco: {images: a, annotations: b}}}}",
    ),
    case(
        "line 10  data.splits  train, validation and test must add up to 1",
        data="data: {embedded: {}, splits: {train: 0.9}}",
    ),
    case(
        "line 10  data.masks.values  needs one grey value for each of the 2 classes, got 1",
        data="data: {masks: {train: {images: a, masks: b}, classes: [x, y], values: [0]}}",
    ),
    case(
        "line 10  resources.gpus  must be auto, a fraction of one GPU such as 0.5, or a whole number, 0 or more, got 'all'",
        resources="resources: {gpus: all}",
    ),
    case(
        "line 10  resources.gpus  must be auto, a fraction of one GPU such as 0.5, or a whole number, 0 or more, got 1.5",
        resources="resources: {gpus: 1.5}",
    ),
    case(
        "line 10  resources.packing  must be auto, off, or a whole number of trials, 1 or more, got 0",
        resources="resources: {packing: 0}",
    ),
    case(
        "line 10  resources.packing  must be auto, off, or a whole number of trials, 1 or more, got 'on'",
        resources="resources: {packing: on}",
    ),
    case(
        "line 10  resources  packing: 4 needs a whole GPU for each worker, got gpus: 0.5; set gpus: 1 and let packing share it, or packing: off",
        resources="resources: {packing: 4, gpus: 0.5}",
    ),
    case(
        "line 10  resources.cpus        must be at least 0.01, got 0",
        "line 10  resources.concurrent  must be a whole number, got 1.5",
        resources="resources: {cpus: 0, concurrent: 1.5}",
    ),
    case(
        "line 10  model  must be a mapping, got 'vit'",
        model="model: vit",
    ),
    case(
        "line 10  checkpoints.budget_gb  must be above 0, got 0",
        "line 10  checkpoints.keep_best  must be at least 1, got 0",
        checkpoints="checkpoints: {budget_gb: 0, keep_best: 0}",
    ),
    case(
        "line 10  checkpoints.to  must be the URI of a folder that begins with one of file://, s3://, gs://, abfs://, for example s3://bucket/folder",
        checkpoints="checkpoints: {to: /mnt/checkpoints}",
    ),
    case(
        "line 10  checkpoints.to  must not contain a key or password, as the file is recorded; set them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, or use the machine's role",
        checkpoints="checkpoints: {to: 's3://AKIA:hush@bucket/folder'}",
    ),
    case(
        "line 10  checkpoints.to  has the unknown option 'endpoint'; s3:// accepts endpoint_override, region, scheme",
        checkpoints="checkpoints: {to: 's3://bucket/folder?endpoint=localhost:9000'}",
    ),
    case(
        "line 10  views.optuna         must be journal, none, or the URL of a database (sqlite, postgresql, mysql, mariadb, oracle, mssql) such as postgresql://user@host/name, got 'studies.db'",
        "line 10  views.wandb.project  is missing; add it",
        "line 10  views.wandb.mode     must be one of auto, online, offline, got 'on'",
        "line 10  views.tensorbord     unknown key; did you mean 'tensorboard'?",
        views="views: {optuna: studies.db, tensorbord: true, wandb: {mode: 'on'}}",
    ),
    case(
        "line 10  views.mlflow   must be true or false, got 'sqlite:///runs.db'",
        'line 10  views.trackio  must be true or false, got {"project": "pets"}',
        views="views: {mlflow: 'sqlite:///runs.db', trackio: {project: pets}}",
    ),
    case(
        "line 10  views.optuna  must be journal, none, or the URL of a database (sqlite, postgresql, mysql, mariadb, oracle, mssql) such as postgresql://user@host/name, got 'redis://…'",
        views="views: {optuna: 'redis://host/0'}",
    ),
    case(
        "line 10  views.optuna  must name a file, such as sqlite:///studies.db; no other tool can read a database in memory",
        views="views: {optuna: 'sqlite://'}",
    ),
    case(
        "line 10  views.optuna  must name a host and a database, such as postgresql://user@host/name",
        views="views: {optuna: 'postgresql://'}",
    ),
    case(
        "line 10  views.optuna  contains a password, but the experiment file is recorded; remove it, and use PGPASSWORD or ~/.pgpass (PostgreSQL), or the option file of your database",
        views="views: {optuna: 'postgresql://tuner:hush@host/studies'}",
    ),
    case(
        "line 10  views.optuna  contains a password, but the experiment file is recorded; remove it, and use PGPASSWORD or ~/.pgpass (PostgreSQL), or the option file of your database",
        views="views: {optuna: 'postgresql://host/studies?password=hush'}",
    ),
    case(
        "line 10  ablation  levels must have different names, got 4 more than once",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", seeds: [1], levels: [{name: "4", settings: {lora.rank: 4}}, {name: "4", settings: {lora.rank: 8}}]}',
    ),
    case(
        "line 10  ablation  reference must be one of the levels 4, got 9",
        x='ablation: {of: x, trial: 1, factor: r, reference: "9", seeds: [1], levels: [{name: "4", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 10  ablation  levels must differ in one setting that all of them set",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", seeds: [1], levels: [{name: "4", settings: {lora.rank: 4}}, {name: "8", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 10  ablation  seeds must differ: a seed given twice would repeat the same trial",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", seeds: [1, 1], levels: [{name: "4", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 10  ablation.seeds  must have at least 1 item, got 0",
        "line 10  ablation.wat    unknown key; available: of, trial, factor, levels, reference, seeds, folds, stage, notes",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", wat: 1, seeds: [], levels: [{name: "4", settings: {lora.rank: 4}}]}',
    ),
]


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def test_classes_of_the_embedded_data_are_known(tmp_path: Path) -> None:
    said = message_of(tmp_path, case(objective="objective: {metric: dice/banana}").text)
    assert "there is no class 'banana'; the data has background, 0, 1, 2" in said
    detection = {"task": "task: detection", "objective": "objective: {metric: map/background}"}
    assert "there is no class 'background'; the data has 0, 1" in message_of(tmp_path, case(**detection).text)
    assert loaded(tmp_path, case(objective="objective: {metric: dice/7}").text).objective.metric == "dice/7"


def test_losses_of_different_kinds_are_not_compared(tmp_path: Path) -> None:
    loss = "objective: {metric: loss}"
    varies = "space:\n  adapter: {choice: [none, lora]}\n  loss: {choice: [dice, cross_entropy]}"
    assert "line 3  objective.metric  is loss, but trials have different losses (cross_entropy, dice)" in (
        message_of(tmp_path, case(objective=loss, space=varies).text)
    )
    partly = "space:\n  adapter: {choice: [none, lora]}\n  loss: {choice: [dice], when: {adapter: lora}}"
    assert "use dice, iou or soft_dice, or set one loss under trial" in (
        message_of(tmp_path, case(objective=loss, space=partly).text)
    )
    for same in (varies.replace("cross_entropy", "dice").replace("[dice, dice]", "[dice]"), VALID["space"]):
        assert loaded(tmp_path, case(objective=loss, space=same).text).objective.metric == "loss"
    assert loaded(tmp_path, case(space=varies).text).objective.metric == "dice"
