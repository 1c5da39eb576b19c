"""Read experiments: with SQL over their tables, or as a whole, as a `Sweep`."""
