"""What users ask of a sweep while it runs: recorded first, then carried out."""
