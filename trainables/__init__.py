"""Trains: fine-tuning of one or several trials, and nothing of search."""
