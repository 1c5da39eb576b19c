"""The adapter families, one file each, and their injection into a model with PEFT."""
