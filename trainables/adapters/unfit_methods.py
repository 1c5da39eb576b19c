"""PEFT's methods that cannot be used here, with the reasons; PEFT and torch are not needed."""

from __future__ import annotations

from collections.abc import Mapping

PROMPTS = "it learns prompt tokens, which a vision backbone does not accept"
UNFIT: Mapping[str, str] = {
    "ADALORA": "its ranks must be reallocated after every step; use adapter 'adalora'",
    "ADAPTION_PROMPT": "it is for language models",
    "CARTRIDGE": PROMPTS,
    "CPT": PROMPTS,
    "MULTITASK_PROMPT_TUNING": PROMPTS,
    "POLY": "it needs a task id with every batch",
    "PREFIX_TUNING": PROMPTS,
    "PROMPT_TUNING": PROMPTS,
    "P_TUNING": PROMPTS,
    "SHADOW": "it is for language models",
    "TRAINABLE_TOKENS": "it trains rows of a token embedding, which a vision model lacks",
    "XLORA": "it combines LoRA adapters that are already trained",
}
"""By the name of the PeftType."""
