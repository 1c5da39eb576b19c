"""The exit codes of the command."""

from __future__ import annotations

FAILED = 1
"""The run failed: no trial has a value, the cluster was lost, or Ray did not start."""
USER_ERROR = 2
"""The user can correct it: a wrong file, name or option, or a disk that cannot be written."""
INTERNAL_ERROR = 70
"""An error in adaptertune."""
PREEMPTED = 75
"""SIGTERM or SIGHUP ended the sweep; `adaptertune resume` continues it, or `launch` if it had no trial."""
INTERRUPTED = 130
"""Ctrl-C or `adaptertune stop` ended the sweep."""
