"""The command `cluster`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trainables.errors import AdaptertuneError
from tuning.cli.completion import complete_file
from tuning.cli.options import Address, Sets, Storage
from tuning.messages import print_answer


class ClusterTopic(StrEnum):
    """What `cluster` can be asked for."""

    CHECK = "check"
    PROFILES = "profiles"


def run_cluster(
    topic: Annotated[
        ClusterTopic, typer.Argument(metavar="check|profiles", help="What to show.", show_choices=False)
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|NAME",
            help="With check: the experiment file, or the recorded experiment, that nodes must be ready for."
            " With profiles: the profile to print instead of the list.",
            autocompletion=complete_file,
        ),
    ] = None,
    address: Address = None,
    set_: Sets = None,
    within_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1.0,
            help="How long a node may take to answer, and again to end its checks. Default: 60.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what check found as JSON.")] = False,
    storage: Storage = None,
) -> None:
    """Check the nodes of a cluster before a sweep; or list the profiles for `adaptertune submit`.

    `check` looks at all nodes at once: whether they answer, their GPUs, drivers and versions, the storage
    folder, data and weights, clocks, /dev/shm, ports and limits. Each problem comes with what helps. Without
    --address and RAY_ADDRESS it starts Ray on this machine, as `launch` would. The exit code is 1 if there
    is an error.

    Examples:

        adaptertune cluster check --address auto --storage /shared/experiments
        adaptertune cluster check nuclei.yaml --address auto           # also its data, weights and resources
        adaptertune cluster profiles
        adaptertune cluster profiles slurm-gpu > profiles/a100.yaml    # a profile of your own to start from
    \f
    Everything that `check` writes is removed at the end. See docs/how-to/run-on-a-cluster.md.
    """
    if topic is ClusterTopic.CHECK:
        from tuning.cli.cluster.check import check  # pydantic

        check(
            name,
            set_ or [],
            address=address,
            storage=storage,
            within_s=60.0 if within_s is None else within_s,
            as_json=json_,
        )
        return
    given = {
        "--address": address,
        "--set": set_,
        "--timeout": within_s,
        "--json": json_ or None,
        "--storage": storage,
    }
    if wrong := [option for option, value in given.items() if value is not None]:
        raise AdaptertuneError(f"{wrong[0]} is an option of `adaptertune cluster check`, not of profiles")
    _print_profiles(name)


def _print_profiles(name: str | None) -> None:
    """Print a profile, or a list of all."""
    from tuning.cli.cluster.profile_files import find_profile, known_profiles
    from tuning.experiment.file_errors import read_text
    from tuning.experiment.reader import display_path

    if name is not None:
        file = find_profile(name)
        print_answer(read_text(file, display_path(file)), nl=False)
        return
    profiles = known_profiles()
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        where = "ships with adaptertune" if profile.shipped else str(profile.path)
        hidden = "; hidden by the one above" if profile.hidden else ""
        print_answer(f"{profile.name:{width}s}  {profile.headline}")
        print_answer(f"{'':{width}s}  {where}{hidden}")
