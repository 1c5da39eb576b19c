"""Whether two records are of the same images."""

from __future__ import annotations

from analysis.query.same_images import Images
from trainables.specs.data import DomainSpec


def domain(severity: int) -> DomainSpec:
    return DomainSpec.model_validate_json(
        f'{{"corruption": {{"kind": "brightness", "severity": {severity}}}}}'
    )


def images(fingerprint: str | None = "f", definition: int = 2, severity: int = 3, stain: str = "") -> Images:
    return Images(fingerprint, definition, {"dim": domain(severity)}, {"dim": stain} if stain else {})


def test_data_differ_by_their_fingerprints() -> None:
    assert images().other_data(images()) == ""
    assert images().other_data(images(None)) == ""  # not prepared yet
    assert "prepared data differ" in images().other_data(images("g"))
    assert "different definitions" in images().other_data(images("g", definition=1))


def test_a_domain_differs_by_its_content_and_without_one_on_record_by_its_definition() -> None:
    assert images(stain="s").other_domain(images(stain="s", severity=5), "dim") == ""
    assert "images of domain dim differ" in images(stain="s").other_domain(images(stain="t"), "dim")
    assert images().other_domain(images(), "dim") == ""
    assert "define domain dim differently" in images().other_domain(images(severity=5), "dim")
    old = images(stain="t", definition=1, severity=5)
    assert "define domain dim differently" in images(stain="s").other_domain(old, "dim")
