"""The record of an experiment: `ledger.jsonl`."""
