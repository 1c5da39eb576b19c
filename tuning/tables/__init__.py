"""The record as tables of Parquet, a view that can be deleted and comes back."""
