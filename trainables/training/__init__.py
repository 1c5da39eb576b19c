"""The training of a trial: engine, state, schedules, evaluation, checkpoints."""
