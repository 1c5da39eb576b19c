"""The check of a cluster's nodes."""
