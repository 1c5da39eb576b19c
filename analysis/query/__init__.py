"""Read experiments: with SQL over their tables, or whole as a `Sweep`."""
