"""Build a model, freeze its parts, count its parameters."""
