"""Experiments that ship with the package."""
