"""One self-contained HTML page of what was compressed, exported, measured and checked."""

from __future__ import annotations

from edgecnn.report.facts import NetworkFigures, ReportFacts
from edgecnn.report.page import write_report
from edgecnn.report.sensitivity import write_sensitivity

__all__ = ["NetworkFigures", "ReportFacts", "write_report", "write_sensitivity"]
