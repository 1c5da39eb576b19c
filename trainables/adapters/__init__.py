"""Adapters: one file per family, from its settings to a PEFT configuration, and their injection."""
