from __future__ import annotations

import subprocess

import pytest

from cluster.manifests.heredoc import heredoc


@pytest.mark.parametrize(
    "text",
    ["one\n", "$HOME `id` \\ \"'\n\n  two\n", "END_OF_TEXT\nEND_OF_TEXT_\n", "a\u2028b\x0b\tc\n", "no end"],
)
def test_the_shell_gives_back_the_text(text: str) -> None:
    done = subprocess.run(["bash", "-c", f"cat {heredoc(text)}"], capture_output=True, check=True)
    assert done.stdout.decode() == (text if text.endswith("\n") else text + "\n")
