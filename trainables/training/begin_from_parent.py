"""Begins a trial where its parent was."""

from __future__ import annotations

from trainables.specs.parent import ParentFile
from trainables.specs.trial import TrialConfig
from trainables.storage_paths import place
from trainables.training.checkpoint import load_weights, read_state, read_weights, restore_state
from trainables.training.engine import Engine
from trainables.training.state import TrialState


def begin_from_parent(engine: Engine, config: TrialConfig, parent: ParentFile, *, number: int) -> TrialState:
    """A new trial at its parent's state, or at step 0 with its parent's weights.

    config: the trial's own.  Raises CheckpointError if the file is gone, damaged, or of another model.
    """
    path = place(parent.path)
    if parent.state:
        saved = read_state(path)
        state = engine.start(config, number=number, kept=saved.weights.kept)
        restore_state(state, saved, longer=True)
        return state
    weights = read_weights(path)
    state = engine.start(config, number=number, kept=weights.kept)
    load_weights(state.model, state.adapted, weights)
    return state
