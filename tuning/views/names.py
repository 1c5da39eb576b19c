"""How the names of metrics and parameters are written in other tools: reversible, and never two as one.

Each tool forbids or changes some names: MLflow raises for `mAP@50` and loses the whole batch, tensorboardX
writes it as `mAP_50`, W&B overwrites `_step`. A name that a tool takes stays as it is; otherwise the
characters in question are written as their code point between two marks: `a//b` is `a/:2f:b` in MLflow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

Special = Callable[[str], Collection[int]]
"""The positions in a name at which a character that is otherwise plain must be escaped."""


@dataclass(frozen=True)
class NameMapping:
    """The names of one tool. `decode(encode(name)) == name` for every text, so that no two names merge."""

    mark: str
    """One character; itself it is always escaped."""
    plain: Callable[[str], bool]
    """Whether a character stands for itself."""
    special: Special
    words: Mapping[str, str] = field(default_factory=dict)
    """More readable codes in place of a character's code point; not hexadecimal."""

    def encode(self, name: str) -> str:
        """The name in the tool."""
        if not name:
            return self.mark * 2
        special = self.special(name)
        return "".join(
            char if char != self.mark and self.plain(char) and place not in special else self._escaped(char)
            for place, char in enumerate(name)
        )

    def decode(self, text: str) -> str:
        """The name that `encode` was given. Raises ValueError if the text is not of this mapping."""
        parts = text.split(self.mark)
        if len(parts) % 2 == 0:
            raise ValueError(f"{text!r} has an odd number of {self.mark!r}")
        return "".join(self._char(part) if place % 2 else part for place, part in enumerate(parts))

    def _escaped(self, char: str) -> str:
        return f"{self.mark}{self.words.get(char, f'{ord(char):x}')}{self.mark}"

    def _char(self, code: str) -> str:
        if not code:
            return ""
        for char, word in self.words.items():
            if word == code:
                return char
        return chr(int(code, 16))


def _path_like(name: str) -> set[int]:
    """Positions in the way of MLflow's rule that a name is a normalized relative path, and outer spaces."""
    last = len(name) - 1
    found = {place for place, char in enumerate(name) if char == "/" and place in (0, last)}
    found |= {match.end() - 1 for match in re.finditer("(?<=/)/", name)}
    for match in re.finditer(r"(?:^|(?<=/))\.{1,2}(?=/|$)|^\.\.", name):
        found.update(range(match.start(), match.end()))
    return found | {place for place in (0, last) if name[place] == " "}


def _reserved(*names: str) -> Special:
    """The first character of these names and of those that begin with `_`: tools keep them for themselves."""
    return lambda name: (0,) if name.startswith("_") or name in names else ()


def _text(char: str) -> bool:
    """Whether a character can be displayed and encoded; half a surrogate pair cannot."""
    return char == " " or (char.isprintable() and not char.isspace())


MLFLOW = NameMapping(":", lambda char: char.isalnum() or char in "_-./ ", _path_like, {"@": "at"})
TENSORBOARD = NameMapping("%", _text, _reserved("outcome", "outcome/text_summary"))
WANDB = NameMapping("%", _text, _reserved())
TRACKIO = NameMapping("%", _text, _reserved("project", "run", "timestamp", "step", "time", "metrics"))

_SAFE_PROJECT = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r"_[0-9a-f]*_")
_KEPT_BEGINNING = "registry-"
_KEPT_ENDINGS = tuple(
    f"_{table}"
    for table in (
        "system", "configs", "traces", "artifacts", "artifact_versions", "artifact_aliases",
        "run_artifact_links", "external_run_artifact_links",
    )
)  # fmt: skip
_PROJECT = NameMapping(
    "_",
    lambda char: char.isascii() and (char.isalnum() or char == "-"),
    lambda name: {
        *([0] if name.startswith(_KEPT_BEGINNING) else []),
        *([len(name) - 1] if name.endswith(_KEPT_ENDINGS) else []),
    },
)


def trackio_project(name: str) -> str:
    """The project of Trackio for an experiment. Trackio leaves out of a file's name what is no letter or
    digit: `team/a` and `teama` would share one file."""
    return name if _is_safe_project(name) else _PROJECT.encode(name)


def experiment_of_project(project: str) -> str:
    """The experiment's name that `trackio_project` was given."""
    return project if _is_safe_project(project) else _PROJECT.decode(project)


def _is_safe_project(name: str) -> bool:
    reserved = name.startswith(_KEPT_BEGINNING) or name.endswith(_KEPT_ENDINGS)
    return bool(_SAFE_PROJECT.fullmatch(name)) and not _ESCAPED.search(name) and not reserved
