"""The report of a record that has everything, and what it is made from."""

from __future__ import annotations

import pytest
from reports import rich

from analysis.report.build import report_of
from analysis.report.document import ReportDocument
from analysis.report.inputs import Material


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.at(rich(tmp_path_factory.mktemp("storage")))


@pytest.fixture(scope="session")
def report(material: Material) -> ReportDocument:
    return report_of(material)
