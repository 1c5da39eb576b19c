"""Malformed settings of trials and of their space, each with the whole message."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import Case, case, label, lines_of

CASES = [
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
        "line 4  trial.sampling.balance  must be one of none, class, got 'clas'; did you mean 'class'?",
        trial="trial: {sampling: {balance: clas}}",
    ),
    case(
        "line 4  trial.sampling.power  must be at most 1, got 2",
        trial="trial: {sampling: {balance: class, power: 2}}",
    ),
    case(
        "line 4  trial.sampling.blance  unknown key; did you mean 'balance'?",
        trial="trial: {sampling: {blance: class}}",
    ),
    case(
        "line 4  trial.loss_weights.3  must be above 0, got 0",
        trial="trial: {loss_weights: {3: 0}}",
    ),
    case(
        "line 4  trial.loss_weights.3  must be a number, got 'much'",
        trial="trial: {loss_weights: {3: much}}",
    ),
    case(
        "line 4  trial.loss_weights  must be a mapping, got 3",
        trial="trial: {loss_weights: 3}",
    ),
    case(
        "line 4  trial.loss_weights.11  there is no class '11'; did you mean '1'?",
        trial="trial: {loss_weights: {11: 2}}",
    ),
    case(
        "line 6  space.loss_weights.cow  there is no class 'cow'; the data has background, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        space="space:\n  loss_weights: {cow: {choice: [1, 2]}}",
    ),
    case(
        "line 6  space.loss_weights.3.float  must be above 0, got 0",
        space="space:\n  loss_weights.3: {float: [0, 8]}",
    ),
    case(
        "line 6  space.loss_weights.3.choice  must be above 0, got -1",
        space="space:\n  loss_weights: {3: {choice: [-1, 1]}}",
    ),
    case(
        "line 4  trial.lora.alpha  is given twice, first on line 4; remove one",
        trial="trial: {lora.alpha: 3, lora: {alpha: 4}}",
    ),
    case(
        "line 6  trial.epochs  is given twice, first on line 5; remove one",
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
        "line 5  space.lora.rank.choice  must have at least 1 item, got 0",
        space="space: {lora.rank: {choice: []}}",
    ),
    case(
        "line 5  space.lora.rank.choice  contains 4 twice; list each value once",
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
        "line 5  space.lora.rank  must be a domain such as {choice: [4, 8]}, {int: [1, 8]} or {float: [1e-4, 1e-2], log: true}, got 8; put a fixed value under trial",
        space="space: {lora.rank: 8}",
    ),
    case(
        "line 5  space.lora.rank  is a plain list; write {choice: [4, 8]}",
        space="space: {lora.rank: [4, 8]}",
    ),
    case(
        "line 5  space.learning_rate.float  must run from low to high, got [0.01, 0.0001]",
        space="space: {learning_rate: {float: [1e-2, 1e-4]}}",
    ),
    case(
        "line 5  space.learning_rate.step   must be above 0, got -1",
        "line 5  space.learning_rate.float  must run from low to high, got [0.01, 0.0001]",
        space="space: {learning_rate: {float: [1e-2, 1e-4], step: -1}}",
    ),
    case(
        "line 5  space.lora.rank.steps  unknown key; did you mean 'step'?",
        "line 5  space.lora.rank.int    must run from low to high, got [8, 1]",
        space="space: {lora.rank: {int: [8, 1], steps: 2}}",
    ),
    case(
        "line 5  space.lora.rank.steps  unknown key; did you mean 'step'?",
        "line 5  space.lora.rank        needs exactly one of choice, int, float; got choice and int",
        space="space: {lora.rank: {int: [1, 8], choice: [4], steps: 2}}",
    ),
    case(
        "line 5  space.weight_decay.float  must be above 0 with log: true, got [0, 0.01]",
        space="space: {weight_decay: {float: [0, 1e-2], log: true}}",
    ),
    case(
        "line 5  space.lora.rank.float  lora.rank is a whole number; use int instead of float",
        space="space: {lora.rank: {float: [1, 8]}}",
    ),
    case(
        "line 5  space.loss.int  loss is not a number; use choice",
        space="space: {loss: {int: [1, 8]}}",
    ),
    case(
        "line 5  space.lora.dropout.float  must be below 1, got 1",
        space="space: {lora.dropout: {float: [0, 1]}}",
    ),
    case(
        "line 5  space.lora.rank.step  cannot be combined with log: true; remove one of them",
        space="space: {lora.rank: {int: [1, 8], log: true, step: 2}}",
    ),
    case(
        "line 5  space.lora.rank.int  must have 2 items, got [1]",
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
        "line 6  space.weight_decay.when  is part of a cycle: weight_decay needs warmup needs weight_decay; remove one of these conditions",
        space="space:\n  weight_decay: {choice: [0.1], when: {warmup: 0.1}}\n  warmup: {choice: [0.1], when: {weight_decay: 0.1}}",
    ),
    case(
        "line 6  space.weight_decay.when  is part of a cycle: weight_decay needs weight_decay; remove one of these conditions",
        space="space:\n  weight_decay: {choice: [0.1], when: {weight_decay: 0.1}}",
    ),
    case(
        "line 4  trial.lora.rank  is also in space; a setting is either fixed or searched, so remove one",
        trial="trial: {lora.rank: 8}",
    ),
    case(
        "line 5  space.adalora.init_rank  never applies: adapter is lora, never adalora; remove it or add adalora",
        trial="trial: {adapter: lora}",
        space="space: {adalora.init_rank: {choice: [4]}}",
    ),
    case(
        "line 4  trial.loha.rank  has no effect: adapter is lora or adalora, never loha",
        trial="trial: {loha.rank: 3}",
    ),
    case(
        "line 9  space.freezing[1]  can apply at the same time as an earlier alternative; give both a `when` on the same parameter, without a value in common",
        space="space:\n  adapter: {choice: [none, lora]}\n  freezing:\n  - {choice: [head_only], when: {adapter: none}}\n  - {choice: [frozen], when: {adapter: [none, lora]}}",
    ),
    case(
        "line 7  space.freezing  freezing 'frozen' needs an adapter; with adapter 'none' use head_only or full (for example with adapter none, freezing frozen; 1 more like it)",
        "line 7  space.freezing  freezing 'head_only' needs adapter 'none'; with 'lora' use frozen, unfrozen or unfreeze_at (for example with adapter lora, freezing head_only; 1 more like it)",
        space="space:\n  adapter: {choice: [none, lora, loha]}\n  freezing: {choice: [head_only, frozen, unfrozen]}",
    ),
    case(
        "line 6  space.freezing  unfreeze_epoch and freezing 'unfreeze_at' need each other; set both or neither (for example with freezing unfreeze_at)",
        space="space:\n  freezing: {choice: [frozen, unfreeze_at]}",
    ),
    case(
        "line 5  space.unfreeze_epoch  unfreeze_epoch 9 is never reached in 4 epochs; use a smaller value or train longer (for example with unfreeze_epoch 9)",
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
        "line 6  space.blocks  blocks [2, 5]: the model has 4 blocks; use numbers from 0 to 3, or from -4 to -1, counted from the last block (for example with blocks [2, 5])",
        space="space:\n  blocks: {choice: [[0, 1], [2, 5]]}",
    ),
    case(
        "line 6  space.blocks  blocks [-1, 2]: the model has 4 blocks, so this runs from block 3 to block 2; the first must not come after the last (for example with blocks [-1, 2])",
        space="space:\n  blocks: {choice: [[-2, -1], [-1, 2]]}",
    ),
    case(
        "line 6  space.blocks  blocks must run from first to last, got [-1, -2] (for example with blocks [-1, -2])",
        space="space:\n  blocks: {choice: [[-2, -1], [-1, -2]]}",
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
        "line 4  trial.rates  rates 'together' allows no head_learning_rate; remove it or use 'apart' (for example with head_learning_rate 0.1)",
        trial="trial: {rates: together}",
        space="space: {head_learning_rate: {choice: [0.1, 0.3]}}",
    ),
    case(
        "line 4  trial.head.kind  must be one of conv, linear, multiscale, got 'deep'",
        trial="trial: {head.kind: deep}",
    ),
    case(
        "line 4  trial.head.width  head.width needs head.kind 'conv' or 'multiscale', as a linear head has no layer between; remove it, or search it with when: {head.kind: [conv, multiscale]}",
        trial="trial: {head.kind: linear, head.width: 8}",
    ),
    case(
        "line 5  space.head.width  head.width needs head.kind 'conv' or 'multiscale', as a linear head has no layer between; remove it, or search it with when: {head.kind: [conv, multiscale]} (for example with head.kind linear, head.width 8)",
        space="space: {head.kind: {choice: [conv, linear]}, head.width: {choice: [8, 16]}}",
    ),
    case(
        "line 4  trial.head.blocks  head.blocks needs head.kind 'linear' or 'multiscale', as 'conv' reads the last block; remove it",
        trial="trial: {head.blocks: [0, 1]}",
    ),
    case(
        "line 4  trial.head.blocks  head.blocks must name each block once, got [1, 1]",
        trial="trial: {head.kind: linear, head.blocks: [1, 1]}",
    ),
    case(
        "line 4  trial.head.blocks  head.blocks [0, 4]: the model has 4 blocks; use numbers from 0 to 3, or from -4 to -1, counted from the last block",
        trial="trial: {head.kind: multiscale, head.blocks: [0, 4]}",
    ),
    case(
        "line 4  trial.loss       applies to task segmentation only; detection uses the model's own",
        "line 4  trial.head.norm  applies to task segmentation only; detection uses the model's own",
        task="task: detection",
        objective="objective: {metric: map}",
        trial="trial: {loss: dice, head.norm: true}",
    ),
    case(
        "line 4  trial.epochs  must be at most 100000, got 1000000",
        trial="trial: {epochs: 1000000}",
    ),
    case(
        "line 4  trial.train_fraction  must be at most 1, got 2",
        trial="trial: {epochs: 6, train_fraction: 2}",
    ),
]


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def test_there_are_thirty_and_more() -> None:
    assert len({c.text + str(c.overrides) for c in CASES}) >= 30
