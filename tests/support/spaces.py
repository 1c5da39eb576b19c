"""Search spaces that tests of the search share."""

from __future__ import annotations

from tuning.experiment.space import Space

CONDITIONAL = Space.parse(
    {
        "adapter": {"choice": ["lora", "adalora", "none"]},
        "learning_rate": {"float": [1e-5, 1e-1], "log": True},
        "lora.rank": {"int": [1, 8]},
        "adalora.init_rank": {"choice": [8, 12]},
        "freezing": [
            {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
            {"choice": ["frozen", "unfrozen"], "when": {"adapter": ["lora", "adalora"]}},
        ],
        "targets": {"choice": [["query"], ["query", "value"]]},
    }
)
FINITE = Space.parse(
    {
        "adapter": {"choice": ["lora", "none"]},
        "lora.rank": {"choice": [2, 4, 8]},
        "learning_rate": {"choice": [1e-3, 1e-2]},
    }
)
EIGHTY = Space.parse({"lora.rank": {"int": [1, 20]}, "batch_size": {"choice": [4, 8, 16, 32]}})
NUMBERS = Space.parse(
    {
        "learning_rate": {"float": [1e-5, 1e-1], "log": True},
        "lora.rank": {"int": [1, 16], "log": True},
        "lora.dropout": {"float": [0.0, 0.5], "step": 0.1},
        "batch_size": {"int": [4, 32], "step": 4},
    }
)
"""Numbers without conditions, of every kind."""
BELIEVED = Space.parse(
    {
        "adapter": {"choice": ["lora", "adalora", "none"], "prior": {"value": "lora", "confidence": 0.6}},
        "learning_rate": {"float": [1e-5, 1e-1], "log": True, "prior": {"value": 3e-4}},
        "lora.rank": {"int": [1, 8], "prior": {"value": 4, "confidence": 0.9}},
        "adalora.init_rank": {"choice": [8, 12], "prior": {"value": 12}},
        "freezing": [
            {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
            {
                "choice": ["frozen", "unfrozen"],
                "prior": {"value": "frozen", "confidence": 0.8},
                "when": {"adapter": ["lora", "adalora"]},
            },
        ],
        "targets": {"choice": [["query"], ["query", "value"]], "prior": {"value": ["query"]}},
    }
)
"""`CONDITIONAL`, with priors."""
