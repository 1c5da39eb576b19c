"""What to try next, with Optuna."""
