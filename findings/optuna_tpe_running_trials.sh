#!/usr/bin/env bash
# Optuna 5.0.0: TPESampler with multivariate, group and constant_liar, a conditional space, and trials that still run.
#
# Guess before running (2026-11-28): what TPE knows of a running trial are its parameters. A study that is built again, with
# the same finished trials and running trials of the same parameters, gets the same proposal from a sampler of the same seed.
#
# Seen: it gets another one. TPE stores all settings that it drew jointly in a system attribute of the trial
# (`tpe:relative_params:0`), also those that the trial's conditions then exclude, and counts them until the trial ends.
# A running trial with adapter loha counts as if it had a rank and an alpha of LoRA.
#
# For users: adaptertune builds studies again from its ledger when a sweep is resumed; its sampler reads the parameters alone
# (tuning/search/samplers/tpe.py), and a contract suite compares proposals with trials outstanding.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet optuna==5.0.0
"$scratch/venv/bin/python" -W ignore - <<'PY'
import optuna
from optuna.samplers import RandomSampler, TPESampler

optuna.logging.set_verbosity(optuna.logging.ERROR)


def propose(study, seed):
    study.sampler = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=5)
    trial = study.ask()
    return trial, suggest(trial)


def suggest(trial):
    values = {"adapter": trial.suggest_categorical("adapter", ["lora", "loha"])}
    if values["adapter"] == "lora":
        values["rank"] = trial.suggest_int("rank", 1, 64)
        values["alpha"] = trial.suggest_float("alpha", 1, 64)
    else:
        values["power"] = trial.suggest_float("power", 0, 1)
    values["rate"] = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    return values


def score(values):
    return values["rate"] + values.get("rank", 3) / 64 + values.get("power", 0.2)


def built_again(finished, running):
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    for values in (*finished, *running):
        study.enqueue_trial(values)
        trial = study.ask()
        assert suggest(trial) == values
        if values not in running:
            study.tell(trial, score(values))
    return study


def run(outstanding):
    study, finished, running = optuna.create_study(direction="maximize"), [], []
    for seed in range(20):
        trial, values = propose(study, seed)
        study.tell(trial, score(values))
        finished.append(values)
    for seed in range(20, 20 + outstanding):
        running.append(propose(study, seed)[1])
    excluded = {
        key
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        for name, text in trial.system_attrs.items()
        if name.startswith("tpe:relative_params")
        for key in ("rank", "alpha", "power")
        if f'"{key}"' in str(text) and key not in trial.params
    }
    again = built_again(finished, running)
    return excluded, propose(study, 99)[1], propose(again, 99)[1]


_, before, again = run(0)
print("no trial runs:   ", before == again)
assert before == again
excluded, before, again = run(4)
print("four trials run: ", before == again, "| counted though excluded:", sorted(excluded))
print("  as it was:  ", before)
print("  built again:", again)
assert excluded
assert before != again
PY
echo "as stated"
