"""The steps in a row."""

from __future__ import annotations

from edgecnn.compress.settings import Search, Sparsity, Training, Uniform
from edgecnn.pipeline.budget import Budget
from edgecnn.pipeline.compress import compress_model
from edgecnn.pipeline.export import ExportResult, export_model, export_subject
from edgecnn.pipeline.plan import Plan
from edgecnn.pipeline.result import CompressResult
from edgecnn.pipeline.sensitivity import measure_sensitivity
from edgecnn.pipeline.subject import Subject, load_subject

__all__ = [
    "Budget",
    "CompressResult",
    "ExportResult",
    "Plan",
    "Search",
    "Sparsity",
    "Subject",
    "Training",
    "Uniform",
    "compress_model",
    "export_model",
    "export_subject",
    "load_subject",
    "measure_sensitivity",
]
