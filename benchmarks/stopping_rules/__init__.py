"""Stopping rules compared on recorded learning curves, by discrete-event simulation."""
