"""What a worker reserves on a node, and whether a node has room for it."""
