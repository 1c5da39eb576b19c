"""Sweeps in the background: detached from the terminal, and supervised."""
