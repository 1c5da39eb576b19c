"""The adapter families: one file each, from its settings to a PEFT configuration."""
