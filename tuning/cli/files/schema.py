"""The command `schema`."""

from __future__ import annotations

import json

from tuning.messages import print_answer


def run_schema() -> None:
    """Print the JSON Schema of experiment files, for completion in an editor."""
    from tuning.experiment.json_schema import experiment_schema

    print_answer(json.dumps(experiment_schema(), indent=2))
