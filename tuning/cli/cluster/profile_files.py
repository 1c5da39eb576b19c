"""Where profiles are: in `./profiles`, in the user's configuration folder, or shipped with adaptertune."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from trainables.errors import StorageError
from trainables.wording import with_full_stop
from tuning.experiment.file_errors import suggestion

SUFFIX = ".yaml"
HERE = Path("profiles")


@dataclass(frozen=True)
class ProfileFile:
    """A profile that can be named.

    headline: the first line of its comment.  hidden: whether a profile of the same name comes before it.
    """

    name: str
    path: Path
    shipped: bool
    headline: str
    hidden: bool


def user_folder() -> Path:
    """The folder of the user's profiles: `adaptertune/profiles` in XDG_CONFIG_HOME, else in ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "adaptertune" / "profiles"


def known_profiles() -> list[ProfileFile]:
    """All profiles that can be named, in the order in which they are looked up."""
    found: list[ProfileFile] = []
    for path, shipped in _files():
        name = path.name.removesuffix(SUFFIX)
        hidden = any(each.name == name for each in found)
        found.append(ProfileFile(name, path, shipped, _headline(path), hidden))
    return found


def find_profile(given: str) -> Path:
    """The file of a profile by its path or its name. Raises StorageError with the names that there are."""
    path = Path(given)
    if path.is_file():
        return path
    if path.is_dir() and os.sep in given:
        raise StorageError(f"{given} is a folder; name the profile in it")
    if os.sep not in given:
        for profile in known_profiles():
            if profile.name == given.removesuffix(SUFFIX):
                return profile.path
    names = [profile.name for profile in known_profiles() if not profile.hidden]
    raise StorageError(
        with_full_stop(f"there is no profile {given}{suggestion(given, names)}")
        + " `adaptertune cluster profiles` lists them; they are looked"
        f" up in ./{HERE}, in {user_folder()}, and among those that ship"
    )


def _files() -> Iterator[tuple[Path, bool]]:
    with as_file(files("cluster.manifests") / "profiles") as shipped:
        # Packages are installed unpacked, so the path is valid after the context ends.
        for folder in (HERE, user_folder(), shipped):
            if folder.is_dir():
                for path in sorted(folder.glob(f"*{SUFFIX}")):
                    yield path, folder is shipped


def _headline(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
    except OSError:
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""
