"""Decides: what to try, when to stop, what is durable."""
