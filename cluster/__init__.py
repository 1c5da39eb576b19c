"""Where a sweep runs: connecting, resources, what workers see."""
