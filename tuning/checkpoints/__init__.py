"""Which weights are kept, and where."""
