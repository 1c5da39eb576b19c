"""Times the forward passes of scored trials in turns, in one worker.

Trials of one architecture are measured once and have one latency, because their computation is the same.
"""

from __future__ import annotations

import traceback

import numpy as np
import torch
from PIL import Image

from trainables.errors import reason_of
from trainables.inference.latency import Pass, architecture, forward_pass, in_turns
from trainables.inference.score_on_test import test_parts
from trainables.inference.trained_model import rebuild_model
from trainables.run_folder import append_to_log
from trainables.specs.job import TimingJob, TimingResult
from trainables.storage_paths import place
from trainables.training.checkpoint import read_weights
from trainables.workers.score_trial import shared_engine


def time_models(job: TimingJob) -> TimingResult:
    """The latency of each trial, without those whose weights cannot be read, or the reason why there is none.

    The image is the first test image; all models see the same one.
    """
    torch.set_num_threads(job.threads)
    try:
        engine = shared_engine(job)
        image = Image.fromarray(np.ascontiguousarray(next(iter(test_parts(engine).values())).image(0)))
        passes: dict[str, Pass] = {}
        built: dict[int, str] = {}
        for trial, weights in job.weights.items():
            try:
                held = read_weights(place(weights), job.owners.get(trial))
                trained = rebuild_model(engine.workload, engine.task, held)
            except Exception as error:
                append_to_log(job.folders[trial], f"its latency is not measured: {reason_of(error)}")
                continue
            built[trial] = architecture(trained)
            if built[trial] not in passes:
                passes[built[trial]] = forward_pass(trained, image)
        measured = dict(zip(passes, in_turns(list(passes.values())), strict=True))
        return TimingResult(latency={trial: measured[key] for trial, key in built.items()})
    except Exception as error:
        for folder in job.folders.values():
            append_to_log(folder, traceback.format_exc())
        return TimingResult(reason=reason_of(error))
