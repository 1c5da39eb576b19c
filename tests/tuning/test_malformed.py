"""Malformed experiment files, each with the whole message that the user sees."""
# ruff: noqa: E501 (messages stand in one piece)

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search_spaces.catalog import resolve
from trainables.errors import ExperimentFileError
from tuning.experiment import load_experiment
from tuning.yaml_lines import read_yaml, to_yaml

SOUND = {
    "name": "name: pets",
    "task": "task: segmentation",
    "objective": "objective: {metric: dice}",
    "trial": "trial: {epochs: 6}",
    "space": "space:\n  adapter: {choice: [lora, adalora]}\n  lora.rank: {choice: [4, 8]}",
    "search": "search: {trials: 8}",
    "scheduler": "scheduler: {asha: {grace_epochs: 1}}",
}
"""Parts of a sound file, in its order; a case replaces some."""


@dataclass(frozen=True)
class Case:
    text: str
    overrides: tuple[str, ...]
    expected: tuple[str, ...]


def case(*expected: str, overrides: tuple[str, ...] = (), without: str = "", **parts: str) -> Case:
    lines = [text for part, text in (SOUND | parts).items() if part != without]
    return Case("\n".join(lines) + "\n", tuple(overrides), expected)


CASES = [
    case(
        "line 10  serach  unknown key; did you mean 'search'?",
        x="serach: {}",
    ),
    case(
        "line 10  epochs  unknown key; it is a setting of trials: write trial.epochs, or space.epochs to search it",
        x="epochs: 3",
    ),
    case(
        "line 1  name  is missing: the experiment's name, such as name: pets",
        without="name",
    ),
    case(
        "line 1  task  is missing; write task: detection or task: segmentation",
        without="task",
    ),
    case(
        "line 1  objective  is missing: what to optimise, such as objective: {metric: dice}",
        without="objective",
    ),
    case(
        "line 2  task  must be one of detection, segmentation, got 'detect'; did you mean 'detection'?",
        task="task: detect",
    ),
    case(
        "line 1  name  names a folder: up to 100 letters, digits, '.', '_' or '-', the first a letter or digit, got 'my/pets'",
        name="name: my/pets",
    ),
    case(
        "line 1  name  must be text, got 2024; quote it: '2024'",
        name="name: 2024",
    ),
    case(
        "line 3  objective.metric  segmentation has no metric 'mAP'; it has dice, iou, soft_dice, loss, dice/CLASS, iou/CLASS",
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
        "line 4  trial.learning_rate  must be a number, got '1e-3'; remove the quotes",
        trial="trial: {learning_rate: '1e-3'}",
    ),
    case(
        "line 5  trial.learning_rate  must be above 0, got -1",
        trial="trial:\n  learning_rate: -1",
    ),
    case(
        "line 4  trial.lora.rnak  unknown key; did you mean 'rank'?",
        trial="trial: {lora: {rnak: 3}}",
    ),
    case(
        "line 4  trial.lr  unknown key; did you mean 'learning_rate'?",
        trial="trial: {lr: 3}",
    ),
    case(
        "line 4  trial.lora.alpha  is here twice, first in line 4; remove one",
        trial="trial: {lora.alpha: 3, lora: {alpha: 4}}",
    ),
    case(
        "line 6  trial.epochs  is here twice, first in line 5; remove one",
        trial="trial:\n  epochs: 3\n  epochs: 4",
    ),
    case(
        'line 4  trial  must be a mapping such as {epochs: 5}, got ["a"]',
        trial="trial: [a]",
    ),
    case(
        "line 4  trial.lora.rslora  must be true or false, got 'yes'",
        trial="trial: {lora.rslora: yes}",
    ),
    case(
        "line 5  is not YAML: a tab cannot indent; use spaces",
        trial="trial:\n\tepochs: 3",
    ),
    case(
        "line 4  is not YAML: a second ':' in one line, or a line indented wrongly; quote text that holds ': '",
        trial="trial: epochs: 3",
    ),
    case(
        "line 4  trial.epochs  has the tag !!python/object:os.system; write plain values only",
        trial="trial: {epochs: !!python/object:os.system 3}",
    ),
    case(
        "line 4  is not YAML: the '{' opened here is not closed, or a comma is missing in it",
        trial="trial: {epochs: 3",
    ),
    case(
        "line 7  space.lora.rank.choice  must be a whole number, got 'eight'",
        space="space:\n  adapter: {choice: [lora]}\n  lora.rank: {choice: [4, eight]}",
    ),
    case(
        "line 6  space.lora.rank.choice  must be at least 1, got 0",
        space="space:\n  lora.rank: {choice: [0, 8]}",
    ),
    case(
        "line 6  space.adapter.choice  must be one of none, lora, adalora, loha, lokr, serial_lora, localized_lora, peft, got 'lroa'; did you mean 'lora'?",
        space="space:\n  adapter: {choice: [lora, lroa]}",
    ),
    case(
        "line 5  space.lora.rank.choice  must hold at least 1 item, got 0",
        space="space: {lora.rank: {choice: []}}",
    ),
    case(
        "line 5  space.lora.rank.choice  holds 4 twice; name each value once",
        space="space: {lora.rank: {choice: [4, 4]}}",
    ),
    case(
        "line 5  space.lora.rank.choise  unknown key; did you mean 'choice'?",
        space="space: {lora.rank: {choise: [4]}}",
    ),
    case(
        "line 5  space.lora.rank  needs exactly one of choice, int, float; got choice and int",
        space="space: {lora.rank: {choice: [4], int: [1, 8]}}",
    ),
    case(
        "line 5  space.lora.rank  needs exactly one of choice, int, float; got none of them",
        space="space: {lora.rank: {when: {adapter: lora}}}",
    ),
    case(
        "line 5  space.lora.rank  must be a domain such as {choice: [4, 8]}, {int: [1, 8]} or {float: [1e-4, 1e-2], log: true}, got 8; a fixed value goes under trial",
        space="space: {lora.rank: 8}",
    ),
    case(
        "line 5  space.lora.rank  is a bare list; write {choice: [4, 8]}",
        space="space: {lora.rank: [4, 8]}",
    ),
    case(
        "line 5  space.learning_rate.float  must run from low to high, got [0.01, 0.0001]",
        space="space: {learning_rate: {float: [1e-2, 1e-4]}}",
    ),
    case(
        "line 5  space.weight_decay.float  must lie above 0 with log: true, got [0, 0.01]",
        space="space: {weight_decay: {float: [0, 1e-2], log: true}}",
    ),
    case(
        "line 5  space.lora.rank.float  lora.rank is a whole number; use int in place of float",
        space="space: {lora.rank: {float: [1, 8]}}",
    ),
    case(
        "line 5  space.loss.int  loss is no number; use choice",
        space="space: {loss: {int: [1, 8]}}",
    ),
    case(
        "line 5  space.lora.dropout.float  must be below 1, got 1",
        space="space: {lora.dropout: {float: [0, 1]}}",
    ),
    case(
        "line 5  space.lora.rank.step  does not go with log: true; remove one of them",
        space="space: {lora.rank: {int: [1, 8], log: true, step: 2}}",
    ),
    case(
        "line 5  space.lora.rank.int  must hold 2 items, got [1]",
        space="space: {lora.rank: {int: [1]}}",
    ),
    case(
        "line 5  space.lora.rank.int  must be a list, got 8",
        space="space: {lora.rank: {int: 8}}",
    ),
    case(
        "line 6  space.lora.rank.when.adaptr  there is no parameter 'adaptr'; did you mean 'adapter'?",
        space="space:\n  lora.rank: {choice: [4], when: {adaptr: lora}}\n  adapter: {choice: [lora]}",
    ),
    case(
        "line 6  space.lora.rank.when.adapter  adapter is fixed to 'lora' in trial; remove the condition",
        trial="trial: {adapter: lora}",
        space="space:\n  lora.rank: {choice: [4], when: {adapter: lora}}",
    ),
    case(
        "line 6  space.weight_decay.when.adapter  adapter is never 'lorra'; did you mean 'lora'?",
        space="space:\n  weight_decay: {choice: [0.1], when: {adapter: lorra}}\n  adapter: {choice: [lora, none]}",
    ),
    case(
        "line 7  space.weight_decay.when.learning_rate  learning_rate is a range of real numbers; a condition needs a choice or whole numbers",
        space="space:\n  learning_rate: {float: [1e-4, 1e-2]}\n  weight_decay: {choice: [0.1], when: {learning_rate: 1e-3}}",
    ),
    case(
        "line 6  space.weight_decay.when  goes in a circle: weight_decay needs warmup needs weight_decay; remove one of these conditions",
        space="space:\n  weight_decay: {choice: [0.1], when: {warmup: 0.1}}\n  warmup: {choice: [0.1], when: {weight_decay: 0.1}}",
    ),
    case(
        "line 6  space.weight_decay.when  goes in a circle: weight_decay needs weight_decay; remove one of these conditions",
        space="space:\n  weight_decay: {choice: [0.1], when: {weight_decay: 0.1}}",
    ),
    case(
        "line 4  trial.lora.rank  is in space too; it is either fixed or searched, remove one",
        trial="trial: {lora.rank: 8}",
    ),
    case(
        "line 5  space.adalora.init_rank  never applies: adapter is lora, never adalora; remove it or add adalora",
        trial="trial: {adapter: lora}",
        space="space: {adalora.init_rank: {choice: [4]}}",
    ),
    case(
        "line 4  trial.loha.rank  has no use: adapter is lora or adalora, never loha",
        trial="trial: {loha.rank: 3}",
    ),
    case(
        "line 9  space.freezing[1]  can apply at the same time as an earlier alternative; give the two `when` conditions that exclude each other on one parameter",
        space="space:\n  adapter: {choice: [none, lora]}\n  freezing:\n  - {choice: [head_only], when: {adapter: none}}\n  - {choice: [frozen], when: {adapter: [none, lora]}}",
    ),
    case(
        "line 7  space.freezing  freezing 'frozen' needs an adapter; with adapter 'none' use head_only or full (for example with adapter none, freezing frozen; 1 more like it)",
        "line 7  space.freezing  freezing 'head_only' goes with adapter 'none'; with 'lora' use frozen, unfrozen or unfreeze_at (for example with adapter lora, freezing head_only; 1 more like it)",
        space="space:\n  adapter: {choice: [none, lora, loha]}\n  freezing: {choice: [head_only, frozen, unfrozen]}",
    ),
    case(
        "line 6  space.freezing  unfreeze_epoch goes with freezing 'unfreeze_at', and that needs it (for example with freezing unfreeze_at)",
        space="space:\n  freezing: {choice: [frozen, unfreeze_at]}",
    ),
    case(
        "line 5  space.unfreeze_epoch  unfreeze_epoch 9 is never reached in 4 epochs; use a smaller one or train longer (for example with unfreeze_epoch 9)",
        trial="trial: {epochs: 4, freezing: unfreeze_at}",
        space="space: {unfreeze_epoch: {int: [2, 9]}}",
    ),
    case(
        "line 8  space.adalora.target_rank  target_rank (12) must not exceed init_rank (8): ranks only shrink (for example with adalora.init_rank 8, adalora.target_rank 12)",
        space="space:\n  adapter: {choice: [lora, adalora]}\n  adalora.init_rank: {choice: [8, 16]}\n  adalora.target_rank: {choice: [4, 12]}",
    ),
    case(
        "line 7  space.adalora.target_rank  target_rank (12) must not exceed init_rank (8): ranks only shrink (for example with adalora.init_rank 8, adalora.target_rank 12)",
        trial="trial: {adapter: adalora}",
        space="space:\n  adalora.init_rank: {int: [8, 16]}\n  adalora.target_rank: {int: [4, 12]}",
    ),
    case(
        "line 7  space.localized_lora.blocks  localized_lora.blocks 5 must divide the hidden size 96; use 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96 (for example with adapter localized_lora, localized_lora.blocks 5; 1 more like it)",
        space="space:\n  adapter: {choice: [localized_lora]}\n  localized_lora.blocks: {choice: [2, 5, 7]}",
    ),
    case(
        "line 7  space.localized_lora.blocks  localized_lora.blocks 3 must divide the hidden size 128; use 2, 4, 8, 16, 32, 64, 128 (for example with adapter localized_lora, localized_lora.blocks 3)",
        task="task: detection",
        objective="objective: {metric: map}",
        space="space:\n  adapter: {choice: [localized_lora]}\n  localized_lora.blocks: {int: [2, 4]}",
    ),
    case(
        "line 6  space.blocks  blocks [2, 5]: the model has 4 blocks; use numbers from 0 to 3 (for example with blocks [2, 5])",
        space="space:\n  blocks: {choice: [[0, 1], [2, 5]]}",
    ),
    case(
        "line 6  space.frozen_blocks  frozen_blocks 12: the model has 4 blocks; use a number from 0 to 4 (for example with frozen_blocks 12)",
        trial="trial: {freezing: unfrozen}",
        space="space:\n  frozen_blocks: {int: [0, 12]}",
    ),
    case(
        "line 6  space.adapter  adapter 'peft' needs a section peft with a method (for example with adapter peft)",
        space="space:\n  adapter: {choice: [peft, lora]}",
    ),
    case(
        "line 6  space.peft.method.choice  PEFT has no method 'IA4'; it has ADAMSS, BEFT, BOFT, C3A, DEFT, DELORA, FOURIERFT, FROD, GLORA, GRALORA, HIRA, HRA, IA3, LILY, LN_TUNING, LOHA, LOKR, LORA, MISS, OFT, OSF, PEANUT, PSOFT, PVERA, RANDLORA, ROAD, SHIRA, SUPERTUNING, TINYLORA, UNILORA, VBLORA, VERA, WAVEFT",
        trial="trial: {adapter: peft}",
        space="space:\n  peft.method: {choice: [IA4]}",
    ),
    case(
        "line 5  space.warmup  warmup + flat must not exceed 1 (for example with warmup 0.3)",
        trial="trial: {schedule: warmup_flat_decay}",
        space="space: {warmup: {choice: [0.1, 0.3]}}",
    ),
    case(
        "line 4  trial.rates  rates 'together' leaves no head_learning_rate; remove it or use 'apart' (for example with head_learning_rate 0.1)",
        trial="trial: {rates: together}",
        space="space: {head_learning_rate: {choice: [0.1, 0.3]}}",
    ),
    case(
        "line 11  search.first[0].lora.rank  must be one of 4, 8, got 5",
        "line 12  search.first[1].lora.rnk   is not in the space; did you mean 'lora.rank'?",
        "line 13  search.first[2].lora.rank  is missing; a configuration names every parameter that applies",
        search="search:\n  trials: 3\n  first:\n  - {adapter: lora, lora.rank: 5}\n  - {adapter: adalora, lora.rnk: 4}\n  - {adapter: lora}",
    ),
    case(
        "line 5  space.learning_rate.float  needs a step for search.grid; or use tpe or random",
        search="search: {grid: {}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2]}}",
    ),
    case(
        "line 8  search.trials  is missing: the number of configurations to try, such as trials: 30",
        search="search: {}",
    ),
    case(
        "line 1  search.trials  is missing: the number of configurations to try, such as trials: 30",
        without="search",
    ),
    case(
        "line 8  search  needs exactly one of tpe, random, grid; got tpe and random",
        search="search: {tpe: {}, random: {}, trials: 3}",
    ),
    case(
        "line 9  scheduler.asha.grace_epochs  is 9, but trials run 6 epochs, so none would be stopped; use a smaller one or scheduler: none",
        scheduler="scheduler: {asha: {grace_epochs: 9}}",
    ),
    case(
        "line 9  scheduler.asha.grace  unknown key; did you mean 'grace_epochs'?",
        scheduler="scheduler: {asha: {grace: 1}}",
    ),
    case(
        "line 9  scheduler  must be the word none or one of asha and median, such as asha: {grace_epochs: 1}, got 'hyperband'",
        scheduler="scheduler: hyperband",
    ),
    case(
        "line 9  scheduler  must be the word none or one of asha and median, such as asha: {grace_epochs: 1}",
        scheduler="scheduler: {}",
    ),
    case(
        "line 9  scheduler.hyperband  unknown key; known here: asha, median",
        scheduler="scheduler: {hyperband: {}}",
    ),
    case(
        "line 9  scheduler  needs exactly one of asha, median, or the word none; got asha and median",
        scheduler="scheduler: {asha: {}, median: {}}",
    ),
    case(
        "line 9  scheduler  must be the word none or one of asha and median, such as asha: {grace_epochs: 1}, got nothing",
        scheduler="scheduler:",
    ),
    case(
        "line 10  data.masks  gives no boxes for task detection; use one of embedded, coco, hub",
        task="task: detection",
        objective="objective: {metric: map}",
        data="data: {masks: {train: {images: a, masks: b}, classes: [x, y]}}",
    ),
    case(
        "line 10  data  needs exactly one source of embedded, coco, masks, hub; got none",
        data="data: {}",
    ),
    case(
        "line 10  data  needs exactly one source of embedded, coco, masks, hub; got embedded, coco",
        data="data: {embedded: {}, coco: {train: {images: a, annotations: b}}}",
    ),
    case(
        "line 10  data.masks.train.masks  is missing; add it",
        "line 10  data.masks.classes      is missing; add it",
        data="data: {masks: {train: {images: a}}}",
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
        "line 4  trial.loss       is for task segmentation; detection has the model's own",
        "line 4  trial.head.norm  is for task segmentation; detection has the model's own",
        task="task: detection",
        objective="objective: {metric: map}",
        trial="trial: {loss: dice, head.norm: true}",
    ),
    case(
        "line 10  resources.gpus  must be the word auto, a part of one GPU such as 0.5, or a whole number from 0 on, got 'all'",
        resources="resources: {gpus: all}",
    ),
    case(
        "line 10  resources.gpus  must be the word auto, a part of one GPU such as 0.5, or a whole number from 0 on, got 1.5",
        resources="resources: {gpus: 1.5}",
    ),
    case(
        "line 9  scheduler.asha.reduction_factor  must be at least 1.1, got 1.01",
        scheduler="scheduler: {asha: {reduction_factor: 1.01}}",
    ),
    case(
        "line 9  scheduler.median.grace_epochs  must be at least 0.01, got 0.001",
        scheduler="scheduler: {median: {grace_epochs: 0.001}}",
    ),
    case(
        "line 9  scheduler.asha.grace_epochs  is 6, but trials run 6 epochs, so none would be stopped; use a smaller one or scheduler: none",
        scheduler="scheduler: {asha: {grace_epochs: 6}}",
    ),
    case(
        "line 4  trial.epochs  must be at most 100000, got 1000000",
        trial="trial: {epochs: 1000000}",
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
        "--set  nonsense  must be key=value, such as trial.epochs=5",
        overrides=["nonsense"],
    ),
    case(
        "--set  trial.epochs  must be a whole number, got 'three'",
        overrides=["trial.epochs=three"],
    ),
    case(
        "--set  space.lora.rank.choice  must be a whole number, got 'x'",
        overrides=["space.lora.rank.choice=[x]"],
    ),
    case(
        "--set  trial.epochs  is not YAML: the '[' opened here is not closed, or a comma is missing in it, got '[1'",
        overrides=["trial.epochs=[1"],
    ),
    case(
        "line 10  checkpoints.budget_gb  must be above 0, got 0",
        "line 10  checkpoints.keep_best  must be at least 1, got 0",
        checkpoints="checkpoints: {budget_gb: 0, keep_best: 0}",
    ),
    case(
        "line 10  checkpoints.to  must be the URI of a folder that begins with one of file://, s3://, gs://, abfs://; such as s3://bucket/folder",
        checkpoints="checkpoints: {to: /mnt/checkpoints}",
    ),
    case(
        "line 10  checkpoints.to  must hold no key or password, as the file is recorded; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, or by the machine's role",
        checkpoints="checkpoints: {to: 's3://AKIA:hush@bucket/folder'}",
    ),
    case(
        "line 10  checkpoints.to  has the unknown option 'endpoint'; s3:// takes endpoint_override, region, scheme",
        checkpoints="checkpoints: {to: 's3://bucket/folder?endpoint=localhost:9000'}",
    ),
    case(
        "line 10  views.optuna         must be the word journal or none, or the URL of a database (sqlite, postgresql, mysql, mariadb, oracle, mssql) such as postgresql://user@host/name, got 'studies.db'",
        "line 10  views.wandb.project  is missing; add it",
        "line 10  views.wandb.mode     must be one of auto, online, offline, got 'on'",
        "line 10  views.tensorbord     unknown key; did you mean 'tensorboard'?",
        views="views: {optuna: studies.db, tensorbord: true, wandb: {mode: 'on'}}",
    ),
    case(
        "line 10  views.optuna  must be the word journal or none, or the URL of a database (sqlite, postgresql, mysql, mariadb, oracle, mssql) such as postgresql://user@host/name, got 'redis://…'",
        views="views: {optuna: 'redis://host/0'}",
    ),
    case(
        "line 10  views.optuna  must name a file, such as sqlite:///studies.db; what is in memory can be seen by nobody",
        views="views: {optuna: 'sqlite://'}",
    ),
    case(
        "line 10  views.optuna  must name a host and a database, such as postgresql://user@host/name",
        views="views: {optuna: 'postgresql://'}",
    ),
    case(
        "line 10  views.optuna  holds a password, and an experiment's file is recorded; leave it out, and give it by PGPASSWORD or ~/.pgpass (PostgreSQL), or by the option file of your database",
        views="views: {optuna: 'postgresql://tuner:hush@host/studies'}",
    ),
    case(
        "line 10  views.optuna  holds a password, and an experiment's file is recorded; leave it out, and give it by PGPASSWORD or ~/.pgpass (PostgreSQL), or by the option file of your database",
        views="views: {optuna: 'postgresql://host/studies?password=hush'}",
    ),
    case(
        "--set  foo  unknown key; known here: name, task, model, data, objective, trial, space, search, scheduler, resources, scoring, checkpoints, views, retries",
        overrides=["foo.bar=1"],
    ),
    case(
        "--set  =3  must be key=value, such as trial.epochs=5",
        overrides=["=3"],
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
        "line 10  ablation  levels must differ in one setting that all of them name",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", seeds: [1], levels: [{name: "4", settings: {lora.rank: 4}}, {name: "8", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 10  ablation  seeds must differ: a seed that comes twice is the same trial",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", seeds: [1, 1], levels: [{name: "4", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 10  ablation.seeds  must hold at least 1 item, got 0",
        "line 10  ablation.wat    unknown key; known here: of, trial, factor, levels, reference, seeds, stage, notes",
        x='ablation: {of: x, trial: 1, factor: r, reference: "4", wat: 1, seeds: [], levels: [{name: "4", settings: {lora.rank: 4}}]}',
    ),
    case(
        "line 4  trial.train_fraction  must be at most 1, got 2",
        trial="trial: {epochs: 6, train_fraction: 2}",
    ),
]


LATER = "  whether the settings go together is checked once these are mended"


def message_of(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> str:
    (folder / "pets.yaml").write_text(text)
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment("pets.yaml", list(overrides))
    return str(caught.value)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("given", CASES, ids=lambda c: c.expected[0].split("  ", 1)[1][:60])
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    count = f"{len(given.expected)} error{'s' if len(given.expected) > 1 else ''}"
    expected = [f"pets.yaml: {count}", *(f"  {line}" for line in given.expected)]
    said = message_of(tmp_path, given.text, given.overrides).splitlines()
    assert [line for line in said if line != LATER] == expected


def test_there_are_thirty_and_more() -> None:
    assert len({c.text + str(c.overrides) for c in CASES}) >= 30


def test_what_the_cases_start_from_is_sound(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text(case().text)
    assert load_experiment("pets.yaml").name == "pets"


MANY = """\
name: my pets
task: segmentation
objective: {metric: dise}
modell: {name: embedded}
data:
  masks:
    train: {images: a, masks: b}
    classes: [x, y]
    values: [0]
trial:
  epochs: three
  lora.rank: 8
space:
  adapter: {choice: [lora, lroa]}
  lora:
    rank: {choice: [4, eight]}
  weight_decay: {choice: [0.1], when: {adaptr: lora}}
  learning_rate: {float: [1e-2, 1e-4]}
search: {tpe: {startup: 3}}
scheduler: {asha: {grace: 1}}
resources: {cpus: 0}
"""


def test_all_faults_come_at_once_in_the_files_order(tmp_path: Path) -> None:
    assert message_of(tmp_path, MANY, ("retries=-1",)).splitlines() == [
        "pets.yaml: 14 errors",
        "  line 1   name                            names a folder: up to 100 letters, digits, '.', '_' or '-', the first a letter or digit, got 'my pets'",
        "  line 3   objective.metric                segmentation has no metric 'dise'; did you mean 'dice'?",
        "  line 4   modell                          unknown key; did you mean 'model'?",
        "  line 9   data.masks.values               needs one grey value for each of the 2 classes, got 1",
        "  line 11  trial.epochs                    must be a whole number, got 'three'",
        "  line 12  trial.lora.rank                 is in space too; it is either fixed or searched, remove one",
        "  line 14  space.adapter.choice            must be one of none, lora, adalora, loha, lokr, serial_lora, localized_lora, peft, got 'lroa'; did you mean 'lora'?",
        "  line 16  space.lora.rank.choice          must be a whole number, got 'eight'",
        "  line 17  space.weight_decay.when.adaptr  there is no parameter 'adaptr'; did you mean 'adapter'?",
        "  line 18  space.learning_rate.float       must run from low to high, got [0.01, 0.0001]",
        "  line 19  search.tpe.startup              unknown key; did you mean 'startup_trials'?",
        "  line 20  scheduler.asha.grace            unknown key; did you mean 'grace_epochs'?",
        "  line 21  resources.cpus                  must be at least 0.01, got 0",
        "  --set    retries                         must be at least 0, got -1",
        LATER,
    ]


def test_combinations_are_checked_beside_faults_that_do_not_concern_them(tmp_path: Path) -> None:
    clash = "space: {adapter: {choice: [lora]}, freezing: {choice: [full]}}"
    for elsewhere in ("resources: {cpus: x}", "modell: {}", "retries: -1"):
        said = message_of(tmp_path, case(space=clash, x=elsewhere).text)
        assert said.startswith("pets.yaml: 2 errors")
        assert "freezing 'full' goes with adapter 'none'" in said
        assert LATER not in said
    said = message_of(tmp_path, case(space=clash, trial="trial: {epochs: x}").text)
    assert said.startswith("pets.yaml: 1 error\n")
    assert said.splitlines()[-1] == LATER
    assert message_of(tmp_path, case(space=clash, x="freezing: frozen").text).splitlines()[-1] == LATER


def test_too_deep_a_nesting_is_a_fault_with_its_line(tmp_path: Path) -> None:
    rule = "is nested too deeply: at most 50 lists and mappings inside one another"
    for depth in (60, 5_000):
        text = case(trial=f"trial: {{peft.arguments: {'[' * depth}{']' * depth}}}").text
        assert rule in message_of(tmp_path, text)
        assert "  line 4 " in message_of(tmp_path, text)
        said = message_of(tmp_path, case().text, (f"trial.epochs={'[' * depth}{']' * depth}",))
        assert f"--set  trial.epochs  {rule}" in said


def test_classes_of_the_embedded_data_are_known(tmp_path: Path) -> None:
    said = message_of(tmp_path, case(objective="objective: {metric: dice/banana}").text)
    assert "there is no class 'banana'; the data has background, 0, 1, 2" in said
    detection = {"task": "task: detection", "objective": "objective: {metric: map/background}"}
    assert "there is no class 'background'; the data has 0, 1" in message_of(tmp_path, case(**detection).text)
    (tmp_path / "pets.yaml").write_text(case(objective="objective: {metric: dice/7}").text)
    assert load_experiment("pets.yaml").objective.metric == "dice/7"


def test_losses_of_different_kinds_are_not_compared(tmp_path: Path) -> None:
    loss = "objective: {metric: loss}"
    varies = "space:\n  adapter: {choice: [none, lora]}\n  loss: {choice: [dice, cross_entropy]}"
    assert "line 3  objective.metric  is loss, and trials differ in theirs (cross_entropy, dice)" in (
        message_of(tmp_path, case(objective=loss, space=varies).text)
    )
    partly = "space:\n  adapter: {choice: [none, lora]}\n  loss: {choice: [dice], when: {adapter: lora}}"
    assert "use dice, iou or soft_dice, or fix loss under trial" in (
        message_of(tmp_path, case(objective=loss, space=partly).text)
    )
    for same in (varies.replace("cross_entropy", "dice").replace("[dice, dice]", "[dice]"), SOUND["space"]):
        (tmp_path / "pets.yaml").write_text(case(objective=loss, space=same).text)
        assert load_experiment("pets.yaml").objective.metric == "loss"
    (tmp_path / "pets.yaml").write_text(case(space=varies).text)
    assert load_experiment("pets.yaml").objective.metric == "dice"


def test_a_run_shortened_by_an_override_may_do_without_its_scheduler(tmp_path: Path) -> None:
    assert "none would be stopped" in message_of(tmp_path, case(trial="trial: {epochs: 1}").text)
    (tmp_path / "pets.yaml").write_text(case().text)
    assert load_experiment("pets.yaml", ["trial.epochs=1"]).max_epochs == 1


def test_a_folder_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ExperimentFileError, match="is a folder; name the experiment file in it"):
        load_experiment(tmp_path)
    with pytest.raises(ExperimentFileError, match=r"ships; did you mean 'quickstart'\?"):
        load_experiment("quikstart")
    with pytest.raises(ExperimentFileError, match="these ship: coco_folder, mask_folder, quickstart"):
        load_experiment("xyz.yaml")
    Path("latin.yaml").write_bytes("name: Käse".encode("latin-1"))
    with pytest.raises(ExperimentFileError, match=r"latin\.yaml is not UTF-8 text"):
        load_experiment("latin.yaml")


@pytest.mark.parametrize(
    ("text", "rule"), [("", "is empty: it must be"), ("- 1", "must be a mapping of keys")]
)
def test_no_mapping(text: str, rule: str, tmp_path: Path) -> None:
    assert f"pets.yaml: 1 error\n  line 1  {rule}" in message_of(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("space.lora.rank[0].choice=[4]", "is no list, so it has no item [0]"),
        ("search.first[0]={}", "there is no item [0]; the list has 0, counted from 0"),
    ],
)
def test_an_override_of_an_item_that_is_not_there(override: str, rule: str, tmp_path: Path) -> None:
    text = case(search="search: {trials: 8, first: []}").text
    key = override.split("=")[0]
    assert message_of(tmp_path, text, (override,)).splitlines()[1] == f"  --set  {key}  {rule}"


JUNK: list[Any] = [
    None, 0, -1, 1.5, "x", "", [], {}, [1], [None], {"a": 1}, True, float("inf"), float("nan"), 10**30, [{}],
    {"choice": [1]}, {"choice": None}, {"float": ["a", 1]}, {"when": 3}, {"choice": [{"a": [1]}, None]},
    {"choice": [1], "when": {"adapter": [["x"], {"y": 1}]}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


@pytest.mark.parametrize("name", ["quickstart", "coco_folder", "mask_folder"])
def test_whatever_stands_in_a_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Every fourth value in turn replaced by junk: an experiment whose samples fit, or our own error."""
    path = resolve(name)
    assert path is not None
    text = path.read_text()
    rng = random.Random(0)
    refused = 0
    for place in list(places(read_yaml(text).value))[::4]:
        document = read_yaml(text).value
        node = document
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = rng.choice(JUNK)
        (tmp_path / "junk.yaml").write_text(to_yaml(document))
        try:
            experiment = load_experiment("junk.yaml")
        except ExperimentFileError:
            refused += 1
        else:
            experiment.trial_config(experiment.space.sample(rng))
    assert refused > 12
