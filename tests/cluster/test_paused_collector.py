from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from cluster.paused_collector import collector_paused, import_by_name


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_off_inside_and_afterwards_as_before(on: bool) -> None:
    (gc.enable if on else gc.disable)()
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == on


def test_it_is_on_again_after_an_error() -> None:
    with pytest.raises(ImportError), collector_paused(freeze=True):
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize("freeze", [True, False])
def test_objects_are_excluded_from_later_collections_only_if_asked(freeze: bool) -> None:
    before = gc.get_freeze_count()
    with collector_paused(freeze=freeze):
        made = [[] for _ in range(1000)]
    assert (gc.get_freeze_count() - before >= len(made)) == freeze


def test_an_object_by_name_freezes_what_its_import_made_and_nothing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    gc.unfreeze()
    hsv = import_by_name("colorsys:rgb_to_hsv")
    assert hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
    assert import_by_name("colorsys:rgb_to_hsv") is hsv
    assert gc.get_freeze_count() == 0
    assert gc.isenabled()
