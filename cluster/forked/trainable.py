"""A trainable in a copy of the fork server, used by a worker of Ray like one of its own."""

from __future__ import annotations

from typing import Any

from cluster.forked.copy import Copy
from cluster.paused_collector import import_by_name


def new_trainable(name: str) -> Any:
    """A trainable `module:Class`, not set up yet: in a copy of the fork server, or else in this process."""
    if (forked := ForkedTrainable.found(name)) is not None:
        return forked
    kind = import_by_name(name)
    return kind.__new__(kind)  # Ray's __init__ would make a folder in ~/ray_results


class ForkedTrainable(Copy):
    """A trainable in another process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Set up the trainable. Raises its errors, as the other methods do."""
        self.call("setup", config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial, or pack."""
        return bool(self.call("reset_config", new_config))

    def step(self) -> dict[str, Any]:
        """Advance to the next report."""
        result: dict[str, Any] = self.call("step")
        return result

    def cleanup(self) -> None:
        """Let the trainable clean up."""
        self.call("cleanup")
