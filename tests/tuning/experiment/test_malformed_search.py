"""Malformed sections `search` and `scheduler`, each with the whole message."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import Case, case, label, lines_of, loaded, message_of

from trainables.specs.workload import Direction
from tuning.scheduling.context import RuleContext
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import CONTINUE

CASES = [
    case(
        "line 11  search.first[0].lora.rank  must be one of 4, 8, got 5",
        "line 12  search.first[1].lora.rnk   is not in the space; did you mean 'lora.rank'?",
        "line 13  search.first[2].lora.rank  is missing; a configuration must set every parameter that applies",
        search="search:\n  trials: 3\n  first:\n  - {adapter: lora, lora.rank: 5}\n  - {adapter: adalora, lora.rnk: 4}\n  - {adapter: lora}",
    ),
    case(
        "line 5  space.learning_rate.float  needs a step for search.grid; add one, or use tpe or random",
        search="search: {grid: {}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2]}}",
    ),
    case(
        "line 8  search.trials  is missing; set the number of trials, such as trials: 30, or a budget of training epochs for all of them, such as epochs: 300",
        search="search: {}",
    ),
    case(
        "line 1  search.trials  is missing; set the number of trials, such as trials: 30, or a budget of training epochs for all of them, such as epochs: 300",
        without="search",
    ),
    case(
        "line 8  search.epochs  is 5, a budget for all trials together, but one trial runs 6 epochs; use 6 or more, many times that for a search",
        search="search: {epochs: 5}",
    ),
    case(
        "line 8  search.epochs  must be at least 1, got 0",
        search="search: {epochs: 0}",
    ),
    case(
        "line 6  search.epochs  has no effect with search.grid, which tries every configuration; remove it, or use random",
        search="search: {grid: {}, epochs: 50}",
        space="space: {lora.rank: {choice: [4, 8]}}",
    ),
    case(
        "line 8  search.stop  needs after, such as {after: 20, gain: 0.002}, or terminator",
        search="search: {trials: 30, stop: {}}",
    ),
    case(
        "line 8  search.stop  needs after, the number of trials without a gain, such as {after: 20, gain: 0.002}; the gain of a terminator is terminator.gain",
        search="search: {trials: 30, stop: {gain: 0.1}}",
    ),
    case(
        "line 8  search.stop  needs after or terminator, got both; remove one",
        search="search: {trials: 30, stop: {after: 5, terminator: {gain: 0.1}}}",
    ),
    case(
        "line 8  search.stop.terminator.gain    must be above 0, got 0",
        "line 8  search.stop.terminator.trials  must be at least 5, got 2",
        search="search: {trials: 30, stop: {terminator: {gain: 0, trials: 2}}}",
    ),
    case(
        "line 8  search.stop.after  is 30, and the search has 30 trials, so it could never stop by itself; use a smaller number, or more trials",
        search="search: {trials: 30, stop: {after: 30}}",
    ),
    case(
        "line 8  search.stop.afte  unknown key; did you mean 'after'?",
        search="search: {trials: 30, stop: {afte: 30}}",
    ),
    case(
        "line 6  search.stop  has no effect with search.grid, which tries every configuration; remove it, or use random",
        search="search: {grid: {}, stop: {after: 3}}",
        space="space: {lora.rank: {choice: [4, 8]}}",
    ),
    case(
        "line 8  search  needs exactly one of tpe, gp, cmaes, nsga2, qmc, random, grid, optuna; got tpe and random",
        search="search: {tpe: {}, random: {}, trials: 3}",
    ),
    case(
        "line 8  search.gp.startup_trials  must be at least 1, got 0",
        search="search: {gp: {startup_trials: 0}, trials: 3}",
    ),
    case(
        "line 8  search.gp.deterministic  must be true or false, got 'no'",
        search="search: {gp: {deterministic: no}, trials: 3}",
    ),
    case(
        "line 8  search.nsga2.population  must be at least 2, got 1",
        search="search: {nsga2: {population: 1}, trials: 3}",
    ),
    case(
        "line 8  search.nsga2.crossover  must be at most 1, got 1.5",
        "line 8  search.nsga2.swap       must be at most 1, got 2",
        "line 8  search.nsga2.mutation   must be at least 0, got -1",
        search="search: {nsga2: {crossover: 1.5, mutation: -1, swap: 2}, trials: 3}",
    ),
    case(
        "line 8  search.qmc.sequence  must be one of sobol, halton, got 'soboll'; did you mean 'sobol'?",
        search="search: {qmc: {sequence: soboll}, trials: 3}",
    ),
    case(
        "line 8  search.qmc.scramble  must be true or false, got 1",
        search="search: {qmc: {scramble: 1}, trials: 3}",
    ),
    case(
        "line 5  search.from  needs a search that learns, such as tpe; qmc learns nothing from earlier trials",
        space="space: {learning_rate: {float: [1e-4, 1e-2]}}",
        without="trial",
        search="search: {qmc: {}, trials: 3, from: [old]}",
    ),
    case(
        "line 8  search.optuna.sampler  is missing; add it",
        search="search: {optuna: {}, trials: 3}",
    ),
    case(
        "line 8  search.optuna  needs package and ref together: ref is a commit of OptunaHub's registry",
        search="search: {optuna: {sampler: AutoSampler, package: samplers/auto_sampler}, trials: 3}",
    ),
    case(
        "line 8  search.optuna.ref  must be the 40 hexadecimal digits of a commit, got 'main'",
        search="search: {optuna: {sampler: AutoSampler, package: samplers/auto_sampler, ref: main}, trials: 3}",
    ),
    case(
        "line 8  search.optuna.sampler  must not be empty",
        search="search: {optuna: {sampler: ''}, trials: 3}",
    ),
    case(
        "line 8  search.optuna.replayable  must be true or false, got 'maybe'",
        search="search: {optuna: {sampler: NSGAIIISampler, replayable: maybe}, trials: 3}",
    ),
    case(
        "line 8  search.optuna.arguments  must be a mapping, got 3",
        search="search: {optuna: {sampler: NSGAIIISampler, arguments: 3}, trials: 3}",
    ),
    case(
        "line 8  search.cmaes.population  must be at least 4, got 3",
        "line 8  search.cmaes.sigma       must be at most 1, got 2",
        search="search: {cmaes: {population: 3, sigma: 2}, trials: 3}",
    ),
    case(
        "line 6  space.adapter.choice    search.cmaes takes int and float only; fix this setting, write a range, or use tpe, gp or nsga2",
        "line 7  space.lora.rank.choice  search.cmaes takes int and float only; fix this setting, write a range, or use tpe, gp or nsga2",
        search="search: {cmaes: {}, trials: 8}",
    ),
    case(
        "line 7  space.warmup  depends on batch_size, and search.cmaes takes no conditional settings; fix it, or use tpe, gp or nsga2",
        space="space:\n  batch_size: {int: [4, 8]}\n  warmup: {float: [0.0, 0.2], when: {batch_size: 4}}",
        search="search: {cmaes: {}, trials: 8}",
    ),
    case(
        "line 9  scheduler.asha.grace_epochs  is 9, but trials run 6 epochs, so none would be stopped; use a smaller value or scheduler: none",
        scheduler="scheduler: {asha: {grace_epochs: 9}}",
    ),
    case(
        "line 9  scheduler.asha.grace  unknown key; did you mean 'grace_epochs'?",
        scheduler="scheduler: {asha: {grace: 1}}",
    ),
    case(
        "line 9  scheduler  must be none, asha, median, hyperband, pasha, dominance or pbt, such as asha: {grace_epochs: 1}, got 'bohb'",
        scheduler="scheduler: bohb",
    ),
    case(
        "line 9  scheduler  must be none, asha, median, hyperband, pasha, dominance or pbt, such as asha: {grace_epochs: 1}",
        scheduler="scheduler: {}",
    ),
    case(
        "line 9  scheduler.bohb  unknown key; available: asha, median, hyperband, pasha, dominance, pbt",
        scheduler="scheduler: {bohb: {}}",
    ),
    case(
        "line 9  scheduler  must be exactly one of none, asha, median, hyperband, pasha, dominance and pbt; got asha and median",
        scheduler="scheduler: {asha: {}, median: {}}",
    ),
    case(
        "line 9  scheduler  must be none, asha, median, hyperband, pasha, dominance or pbt, such as asha: {grace_epochs: 1}, got nothing",
        scheduler="scheduler:",
    ),
    case(
        "line 9  scheduler.asha.reduction_factor  must be at least 1.1, got 1.01",
        scheduler="scheduler: {asha: {reduction_factor: 1.01}}",
    ),
    case(
        "line 9  scheduler.asha.rule  must be one of threshold, rank, got 'ranks'; did you mean 'rank'?",
        scheduler="scheduler: {asha: {rule: ranks}}",
    ),
    case(
        "line 9  scheduler.asha.within  names 'adaptr', which is not searched, so all trials are in one group; did you mean 'adapter'?",
        scheduler="scheduler: {asha: {within: [adaptr]}}",
    ),
    case(
        "line 9  scheduler.asha.rest  needs rule: rank, and rule is threshold; add it, or remove rest",
        scheduler="scheduler: {asha: {rest: true, rule: threshold}}",
    ),
    case(
        "line 9  scheduler.asha.rest  must be true or false, got 'yes'",
        scheduler="scheduler: {asha: {rule: rank, rest: yes}}",
    ),
    case(
        "line 9  scheduler.asha.within  must be a list, got 'adapter'",
        scheduler="scheduler: {asha: {within: adapter}}",
    ),
    case(
        "line 7  scheduler.asha.within  names 'adapter' twice; name each parameter once",
        space="space: {adapter: {choice: [lora, loha]}}",
        scheduler="scheduler: {asha: {within: [adapter, adapter]}}",
    ),
    case(
        "line 7  scheduler.asha.within  needs parameters with a choice of values, and learning_rate has a range",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
        scheduler="scheduler: {asha: {within: [learning_rate]}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity  must be resolution, or sizes such as {resolution: [96, 128, 160]}, got 'epochs'",
        scheduler="scheduler: {asha: {fidelity: epochs}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity.resolution  must be two or more sizes in pixels that rise to that of the model's images, such as [96, 128, 160] or [[96, 128], [192, 256]], got [64, 32]",
        scheduler="scheduler: {asha: {fidelity: {resolution: [64, 32]}}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity.resolution  must be two or more sizes in pixels that rise to that of the model's images, such as [96, 128, 160] or [[96, 128], [192, 256]], got 32",
        scheduler="scheduler: {asha: {fidelity: {resolution: 32}}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity.size  unknown key; available: resolution",
        scheduler="scheduler: {asha: {fidelity: {size: [32, 64]}}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity  needs a rung for each of 3 sizes, and 6 epochs have 2 rungs (1, 3); use fewer sizes, a smaller grace_epochs or reduction_factor, or more epochs",
        scheduler="scheduler: {asha: {fidelity: {resolution: [16, 32, 64]}}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity  changes sizes between whole epochs, and the rungs 0.1, 0.3, 0.9, 2.7 are too near to each other for 3 sizes; use a larger grace_epochs or reduction_factor, or fewer sizes",
        scheduler="scheduler: {asha: {fidelity: resolution, grace_epochs: 0.1}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity  needs the same number of epochs in all trials, and space searches epochs; set trial.epochs",
        trial="trial: {batch_size: 4}",
        space="space:\n  adapter: {choice: [lora, adalora]}\n  epochs: {int: [6, 9]}",
        scheduler="scheduler: {asha: {fidelity: resolution}}",
    ),
    case(
        "line 9  scheduler.asha.fidelity.resolution  must end with model.image_size, [64, 64], got [48, 48]",
        scheduler="scheduler: {asha: {fidelity: {resolution: [32, 48]}}}",
        model="model: {image_size: [64, 64]}",
    ),
    case(
        "line 9  scheduler.asha.fidelity  needs one objective without constraints, because values on smaller images are not the final ones of any of them; remove it, or the other objectives and the constraints",
        scheduler="scheduler: {asha: {fidelity: resolution}}",
        constraints="constraints: {iou: {at_least: 0.1}}",
    ),
    case(
        "line 10  resources.packing  is 4, but with scheduler.asha.fidelity the trials of a pack would have images of different sizes; use auto or off, with which each trains alone, or remove fidelity",
        scheduler="scheduler: {asha: {fidelity: resolution}}",
        resources="resources: {packing: 4}",
    ),
    case(
        "line 9  scheduler.hyperband.grace_epochs  is 6, but trials run 6 epochs, so none would be stopped; use a smaller value or scheduler: none",
        scheduler="scheduler: {hyperband: {grace_epochs: 6}}",
    ),
    case(
        "line 9  scheduler.hyperband.brackets  must be at least 1, got 0",
        scheduler="scheduler: {hyperband: {brackets: 0}}",
    ),
    case(
        "line 9  scheduler.pasha.reduction_factor  must be at least 1.1, got 1",
        scheduler="scheduler: {pasha: {reduction_factor: 1}}",
    ),
    case(
        "line 9  scheduler.pbt.quantile  must be at most 0.5, got 0.6",
        scheduler="scheduler: {pbt: {quantile: 0.6}}",
    ),
    case(
        "line 7  scheduler.pbt.interval_epochs  is 6, but trials run 6 epochs, so none would be replaced; use a smaller value or scheduler: none",
        scheduler="scheduler: {pbt: {interval_epochs: 6}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
    ),
    case(
        "line 7  scheduler.pbt.explore  names 'learning_rat', which is not searched, so there is no range for it; did you mean 'learning_rate'?",
        scheduler="scheduler: {pbt: {explore: [learning_rat]}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
    ),
    case(
        "line 7  scheduler.pbt.explore  names 'learning_rate' twice; name each parameter once",
        scheduler="scheduler: {pbt: {explore: [learning_rate, learning_rate]}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
    ),
    case(
        "line 7  scheduler.pbt.explore  names batch_size, which cannot change while a trial trains; rates, weight_decay, clip_norm, loss, loss_weights, plateau_* and augment.* can",
        scheduler="scheduler: {pbt: {explore: [batch_size]}}",
        space="space: {batch_size: {int: [1, 64]}}",
    ),
    case(
        "line 7  scheduler.pbt.explore  names loss, on which the conditions of other parameters depend",
        scheduler="scheduler: {pbt: {explore: [loss]}}",
        space="space: {loss: {choice: [dice, cross_entropy]}, learning_rate: {float: [1e-4, 1e-2], when: {loss: dice}}}",
    ),
    case(
        "line 7  scheduler.pbt.explore  must have at least 1 item, got 0",
        scheduler="scheduler: {pbt: {explore: []}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
    ),
    case(
        "line 6  search.epochs  does not apply with scheduler.pbt, whose population trains to its end; remove it",
        "line 7  scheduler.pbt  needs search.trials: that many trials are the population",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
        search="search: {random: {}, epochs: 60}",
        scheduler="scheduler: {pbt: {}}",
    ),
    case(
        "line 7  scheduler.pbt.quantile  is 0.25, and the population has 3 trials, so none would be replaced; it needs 4 or more, see search.trials",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
        search="search: {random: {}, trials: 3}",
        scheduler="scheduler: {pbt: {}}",
    ),
    case(
        "line 6  search.trials  is 6, but the space has 2 configurations; the population of scheduler.pbt needs as many",
        space="space: {learning_rate: {choice: [1e-4, 1e-2]}}",
        search="search: {random: {}, trials: 6}",
        scheduler="scheduler: {pbt: {}}",
    ),
    case(
        "line 6  search.stop  does not apply with scheduler.pbt, whose population trains to its end; remove it",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
        search="search: {random: {}, trials: 6, stop: {after: 3, gain: 0.1}}",
        scheduler="scheduler: {pbt: {}}",
    ),
    case(
        "line 9  scheduler.median.grace_epochs  must be at least 0.01, got 0.001",
        scheduler="scheduler: {median: {grace_epochs: 0.001}}",
    ),
    case(
        "line 9  scheduler.asha.grace_epochs  is 6, but trials run 6 epochs, so none would be stopped; use a smaller value or scheduler: none",
        scheduler="scheduler: {asha: {grace_epochs: 6}}",
    ),
]


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def test_a_run_shortened_by_an_override_may_do_without_its_scheduler(tmp_path: Path) -> None:
    assert "none would be stopped" in message_of(tmp_path, case(trial="trial: {epochs: 1}").text)
    assert loaded(tmp_path, case().text, ("trial.epochs=1",)).max_epochs == 1


@pytest.mark.parametrize(
    "rule",
    [
        "asha: {grace_epochs: 3}",
        "hyperband: {grace_epochs: 3}",
        "pasha: {grace_epochs: 3}",
        "median: {grace_epochs: 3}",
        "pbt: {interval_epochs: 3}",
    ],
)
def test_a_short_trial_run_needs_no_stopping_rule(tmp_path: Path, rule: str) -> None:
    """Its trials end before the rule would look at them; the same file without the override is refused."""
    given = case(
        scheduler=f"scheduler: {{{rule}}}",
        space="space: {learning_rate: {float: [1e-4, 1e-2], log: true}}",
    )
    short = loaded(tmp_path, given.text, ("trial.epochs=1",))
    assert short.max_epochs == 1
    context = RuleContext(population=short.search.trials)
    built = build_rule(short.scheduler, Direction.MAXIMIZE, max_epochs=1, context=context)
    assert built is None or built.decide(0, 1.0, 0.5) == CONTINUE
    assert "but trials run 2 epochs" in message_of(tmp_path, given.text.replace("epochs: 6}", "epochs: 2}"))
