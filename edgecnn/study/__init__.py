"""Studies: a family of networks, what was published about them, and what is counted and measured here."""

from __future__ import annotations

from edgecnn.study.definition import Pruning, Study, Variant, load_study, study_names
from edgecnn.study.figures import VariantFigures, count_variants
from edgecnn.study.pruning import nonzero_after

__all__ = [
    "Pruning",
    "Study",
    "Variant",
    "VariantFigures",
    "count_variants",
    "load_study",
    "nonzero_after",
    "study_names",
]
