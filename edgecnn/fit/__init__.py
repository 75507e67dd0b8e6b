"""Check whether an exported file fits a device, without running it."""

from __future__ import annotations

from edgecnn.fit.check import check_fit
from edgecnn.fit.report import FitReport, Peak, RegionUse

__all__ = ["FitReport", "Peak", "RegionUse", "check_fit"]
