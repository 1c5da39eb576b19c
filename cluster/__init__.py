"""The cluster of a sweep: connecting, resources, the environment of workers."""
