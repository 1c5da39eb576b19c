"""Job files for schedulers of clusters: a profile and a job as values, and the text of each scheduler."""
