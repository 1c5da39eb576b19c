"""Checks of an experiment file before it is used."""
