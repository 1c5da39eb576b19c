"""What viewers get is what they lack: whichever versions a viewer saw, it ends with the page as it is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from analysis.live.versions import Point, Versions


class Viewer:
    def __init__(self) -> None:
        self.version = 0
        self.parts: dict[str, Any] = {}
        self.points: dict[int, list[Point]] = {}

    def look(self, versions: Versions) -> None:
        new = versions.since(self.version)
        self.version = new.version
        self.parts |= new.parts
        for trial, (kept, more) in new.points.items():
            self.points[trial] = self.points.get(trial, [])[:kept] + more


@pytest.mark.parametrize("seed", range(5))
def test_a_viewer_has_the_whole_page_however_often_it_looks(seed: int) -> None:
    rng = random.Random(seed)
    versions, viewers = Versions(), [Viewer() for _ in range(3)]
    parts: dict[str, int] = {}
    curves: dict[int, list[Point]] = {}
    for _ in range(200):
        name, trial = rng.choice("abcd"), rng.randrange(3)
        parts[name] = rng.randrange(3)
        versions.put({name: parts[name]})
        curve = curves.setdefault(trial, [])
        del curve[rng.randrange(len(curve) + 1) if rng.random() < 0.2 else len(curve) :]
        if rng.random() < 0.7:
            curve.append((len(curve) + 1.0, rng.choice([0.1, 0.2, None])))
        versions.draw(trial, list(curve))
        for viewer, often in zip(viewers, (1.0, 0.3, 0.05), strict=True):
            if rng.random() < often:
                viewer.look(versions)
    for viewer in viewers:
        viewer.look(versions)
        assert viewer.parts == parts
        assert {trial: points for trial, points in viewer.points.items() if points} == {
            trial: points for trial, points in curves.items() if points
        }


def test_only_what_is_new_is_sent() -> None:
    versions = Versions()
    versions.put({"head": 1, "trial 0": "a"})
    versions.draw(0, [(1.0, 0.5)])
    seen = versions.version
    versions.put({"head": 1, "trial 0": "b"})
    versions.draw(0, [(1.0, 0.5), (2.0, 0.6)])
    new = versions.since(seen)
    assert new.parts == {"trial 0": "b"}
    assert new.points == {0: (1, [(2.0, 0.6)])}
    versions.put({"trial 0": "b"})
    assert versions.version == new.version
    assert versions.since(new.version).parts == {}
