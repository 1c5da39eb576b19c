"""Check the nodes of a cluster."""
