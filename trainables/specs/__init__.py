"""Values that describe a trial's work: what `tuning` and `analysis` may import of `trainables`."""
