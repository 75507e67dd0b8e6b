"""One self-contained HTML page of what was compressed, exported, measured and checked."""

from __future__ import annotations

from edgecnn.report.facts import NetworkFigures, ReportFacts
from edgecnn.report.sensitivity import write_sensitivity
from edgecnn.report.write import Report, write_report

__all__ = ["NetworkFigures", "Report", "ReportFacts", "write_report", "write_sensitivity"]
