"""Which trial is best, by adapter, by domain and by cost."""
