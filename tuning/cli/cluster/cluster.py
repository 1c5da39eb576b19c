"""The command `cluster`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class ClusterTopic(StrEnum):
    """What `cluster` can be asked for."""

    PROFILES = "profiles"


def run_cluster(
    topic: Annotated[
        ClusterTopic, typer.Argument(metavar="profiles", help="What to show.", show_choices=False)
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this profile instead of the list.")
    ] = None,
) -> None:
    """List the profiles for `adaptertune submit`, with where they come from, or print one of them.

    Examples:

        adaptertune cluster profiles
        adaptertune cluster profiles slurm-gpu > profiles/a100.yaml    # a profile of your own to start from
    """
    from tuning.cli.cluster.profile_files import find_profile, known_profiles

    if name is not None:
        typer.echo(find_profile(name).read_text(encoding="utf-8"), nl=False)
        return
    profiles = known_profiles()
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        where = "ships with adaptertune" if profile.shipped else str(profile.path)
        hidden = "; hidden by the one above" if profile.hidden else ""
        typer.echo(f"{profile.name:{width}s}  {profile.headline}")
        typer.echo(f"{'':{width}s}  {where}{hidden}")
