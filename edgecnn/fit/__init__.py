"""Check whether an exported file fits a device, without running it."""

from __future__ import annotations

from edgecnn.fit.arena import arena_to_set, arenas_to_set, not_counted
from edgecnn.fit.check import check_fit
from edgecnn.fit.limits import device_within
from edgecnn.fit.micro_support import why_refused
from edgecnn.fit.report import FitReport, Peak, RegionUse

__all__ = [
    "FitReport",
    "Peak",
    "RegionUse",
    "arena_to_set",
    "arenas_to_set",
    "check_fit",
    "device_within",
    "not_counted",
    "why_refused",
]
