"""What is said when no cluster answers, a cluster refuses this driver, or Ray does not start here."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.auth_token import MODE, token_mode

NAMED_ADDRESSES = ("auto", "local")
_TOKEN = "copy its ~/.ray/auth_token here, or set RAY_AUTH_TOKEN"


def no_cluster(address: str, error: Exception) -> str:
    """The message if nothing answers at the address."""
    return (
        f"no Ray cluster answers at {address} ({error}); start one there with `ray start --head`,"
        " or give no address, and unset RAY_ADDRESS, to run on this machine"
    )


def refused(address: str, error: Exception) -> str:
    """The message if `ray.init` failed at an address.

    It raises ConnectionError and ValueError if it does not reach the cluster, AuthenticationError (which is a
    RayError) without a token, RuntimeError for other versions, and others for what fails later (Ray 2.60).
    """
    from ray.exceptions import AuthenticationError

    if isinstance(error, AuthenticationError):
        return _no_token(address, error.message)
    if not isinstance(error, ConnectionError | ValueError):
        return _not_let_in(address, error)
    # With `auto` it may have found a cluster, whose token is another.
    found_none = address in NAMED_ADDRESSES and "Could not find any running Ray" in str(error)
    return no_cluster(address, error) if found_none else _turned_away(address, error)


def not_sendable(address: str, why: str) -> str:
    """The message if the token cannot be sent. why: as `cluster.auth_token.why_not_sendable` has it."""
    return f"cannot connect to {address}: {why} from the cluster"


def not_started(error: Exception, ray_folder: Path) -> str:
    """The message if Ray did not start on this machine, with its logs in `ray_folder`."""
    said = _one_line(error)
    if "timed out" in said.lower():
        why = (
            "Ray did not start within its time limit on this machine, which is usually too busy, or short of"
            " memory; try again when it does less"
        )
    else:
        why = "Ray did not start on this machine"
    return f"{why}. Ray's message: {said.rstrip('.')}. Its logs are in {ray_folder}"


def _no_token(address: str, said: str) -> str:
    unset = f"; if the cluster has none, unset {MODE}" if os.environ.get(MODE) else ""
    return f"cannot connect to {address} without the cluster's token ({said.rstrip('.')}): {_TOKEN}{unset}"


def _turned_away(address: str, error: Exception) -> str:
    """The message if something listens there. Ray reports a wrong token only on the terminal."""
    mode = "" if token_mode() == "token" else f", and set {MODE}=token, without which Ray sends none"
    return (
        f"{address} does not answer like a Ray cluster ({error}); if it is one, its token may be different:"
        f" {_TOKEN}{mode}"
    )


def _not_let_in(address: str, error: Exception) -> str:
    said = _one_line(error)
    if "ersion mismatch" in said:
        way = "install the cluster's versions of Ray and Python here, or ours on all of its nodes"
    elif isinstance(error, PermissionError):
        way = "run as the user who started Ray on this machine"
    else:
        way = "see Ray's messages in ray.log, and its logs below /tmp/ray"
    return f"the Ray cluster at {address} refuses this driver ({said}); {way}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
