from __future__ import annotations

import pytest

from tuning.cli.bash_completion import VARIABLE, join_words


def joined(*words: str, shell: str = "bash") -> tuple[list[str], str]:
    """The words after joining, and what bash keeps of the last."""
    environment = {
        VARIABLE: f"complete_{shell}",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    head = join_words(environment)
    found = environment["COMP_WORDS"].split("\n")
    assert environment["COMP_CWORD"] == str(len(found) - 1)
    return found, head


@pytest.mark.parametrize(
    ("words", "expected", "head"),
    [
        (["a", "logs", "d"], ["a", "logs", "d"], ""),
        (["a", "logs", "d", ":"], ["a", "logs", "d:"], "d:"),
        (["a", "logs", "d", ":", "1"], ["a", "logs", "d:1"], "d:"),
        (["a", "compare", "d", ":", "1", "e"], ["a", "compare", "d:1", "e"], ""),
        (["a", "train", "--from", "=", "d", ":", "b"], ["a", "train", "--from=d:b"], "d:"),
        (["a", "best", "--storage", "=", "/x", "d"], ["a", "best", "--storage=/x", "d"], ""),
        (["a", "best", "--storage", "="], ["a", "best", "--storage="], ""),
        (["a", "best", "=", "x"], ["a", "best", "=", "x"], ""),
        (["a", "best", ""], ["a", "best", ""], ""),
        # Where COMP_WORDBREAKS has no colon or equals sign, words come whole.
        (["a", "logs", "d:1"], ["a", "logs", "d:1"], ""),
        (["a", "train", "--from=d:1"], ["a", "train", "--from=d:1"], ""),
    ],
)
def test_parts_of_a_word_are_joined(words: list[str], expected: list[str], head: str) -> None:
    assert joined(*words) == (expected, head)


def test_another_shell_is_left_alone() -> None:
    assert joined("a", "logs", "d:1", shell="zsh") == (["a", "logs", "d:1"], "")
    assert join_words({VARIABLE: "complete_bash"}) == ""
    assert join_words({VARIABLE: "complete_bash", "COMP_WORDS": "a", "COMP_CWORD": "7"}) == ""


def test_words_after_the_cursor_are_dropped() -> None:
    environment = {
        VARIABLE: "complete_bash",
        "COMP_WORDS": "a\nlogs\nd\n:\nb\n--storage\nx",
        "COMP_CWORD": "4",
    }
    assert join_words(environment) == "d:"
    assert environment["COMP_WORDS"] == "a\nlogs\nd:b"
