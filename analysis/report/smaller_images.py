"""The section on smaller images at low rungs: whether they put trials in the order of larger ones."""

from __future__ import annotations

from analysis.compare.fidelity import fidelity_of, fidelity_table
from analysis.errors import NothingToRankError
from analysis.report.document import Absent, Section
from analysis.report.inputs import Material
from trainables.wording import with_full_stop


def smaller_images_section(m: Material) -> Section:
    """The rank correlation of each smaller size with the model's own."""
    title = "Smaller images at low rungs"
    try:
        return Section("fidelity", title, (fidelity_table(fidelity_of(m.sweep)),))
    except NothingToRankError as error:
        return Section("fidelity", title, (Absent(with_full_stop(str(error))),))
