"""Whether two experiments have the same images, by the fingerprints in their records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.query.sweep import Sweep
from trainables.specs.data import DomainSpec
from tuning.ledger.records import PreparedRecord


@dataclass(frozen=True)
class Images:
    """What the record of one experiment tells of its images."""

    fingerprint: str | None
    """Of the prepared data; None before they were prepared."""
    definition: int
    """What the fingerprints mean; see `Definitions.fingerprint`."""
    domains: Mapping[str, DomainSpec]
    domain_fingerprints: Mapping[str, str]
    """Of the domains that have images of their own; empty in records of before."""

    @classmethod
    def of(cls, sweep: Sweep, prepared: PreparedRecord | None) -> Images:
        """The images of an experiment."""
        workload = sweep.experiment.workload
        return cls(
            None if prepared is None else prepared.fingerprint,
            workload.definitions.fingerprint,
            workload.data.domains,
            {} if prepared is None else prepared.domains,
        )

    def other_data(self, other: Images) -> str:
        """Why images of the same name may differ in the two; empty if nothing indicates it."""
        if self.fingerprint == other.fingerprint or None in (self.fingerprint, other.fingerprint):
            return ""
        if self.definition != other.definition:
            return "their fingerprints have different definitions, so their prepared data cannot be compared"
        return "their prepared data differ (source, split, size or seed)"

    def other_domain(self, other: Images, name: str) -> str:
        """The same of a domain that both may have. Data that were moved are the same data."""
        own, others = (each.domain_fingerprints.get(name) for each in (self, other))
        if own is not None and others is not None and self.definition == other.definition:
            return "" if own == others else f"the images of domain {name} differ"
        if self.domains.get(name) == other.domains.get(name):
            return ""
        return f"their experiment files define domain {name} differently"
