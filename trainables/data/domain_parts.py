"""The parts that a shifted domain names, for `validate` too, which reads no prepared data."""

from __future__ import annotations

from trainables.specs.data import DomainPart, DomainSpec, Split


def domain_parts(name: str, domain: DomainSpec) -> dict[Split, tuple[str, DomainPart]]:
    """The parts that a domain names, each with its key."""
    at = f"data.domains.{name}"
    if domain.kind in ("embedded", "corruption"):
        return {}
    own = DomainPart.model_construct(**{domain.kind: getattr(domain, domain.kind)})
    given = {Split.TEST: (at, own)}
    if domain.validation is not None:
        given[Split.VALIDATION] = (f"{at}.validation", domain.validation)
    return given
