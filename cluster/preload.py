"""Preloads a worker's modules when it is imported, which Ray does; see `cluster.preloading`."""

from cluster.preloading import preload_here

preload_here()
