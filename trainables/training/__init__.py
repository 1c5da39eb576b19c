"""Train a trial: engine, state, schedules, evaluation, checkpoints."""
