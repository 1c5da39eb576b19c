"""The experiment file as one frozen value."""
