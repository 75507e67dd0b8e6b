"""`FitReport`: what a network takes of each memory of a device, and what would make it smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecnn.short_repr import short_repr


@dataclass(frozen=True)
class RegionUse:
    """One memory: what the network takes of it, by part, and what there is."""

    name: str
    limit_bytes: int
    parts: Mapping[str, int]  # part → bytes

    @property
    def used_bytes(self) -> int:
        """The sum of the parts."""
        return sum(self.parts.values())

    @property
    def headroom_bytes(self) -> int:
        """What is left; negative where it does not fit."""
        return self.limit_bytes - self.used_bytes

    @property
    def fits(self) -> bool:
        """Whether the parts are within the limit."""
        return self.headroom_bytes >= 0


@dataclass(frozen=True)
class Peak:
    """The operator at which the most memory lives, and its largest tensors."""

    operator: str  # its kind and the name of its output
    step: int  # its index in the graph
    live_bytes: int
    tensors: tuple[tuple[str, int], ...]  # (name, bytes), largest first


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """The result of `check_fit`. Every figure is estimated from the file.

    Example:
        >>> report = edgecnn.check_fit("classifier.tflite", "stm32h7a3")
        >>> [(region.name, region.fits) for region in report.regions]
        [('ram', True), ('flash', True)]
    """

    __repr__ = short_repr

    file: str
    device: str
    regions: tuple[RegionUse, ...]
    arena_bytes: int  # on a microcontroller the size to set, whichever kernels TFLite Micro is built with
    arena_head_bytes: int
    peak: Peak | None  # None: the file has no operator
    live_bytes: tuple[int, ...]  # of activations, for each operator in order
    unsupported_operators: tuple[str, ...]
    next_steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # what the figures do not count, though the network needs it
    notes: tuple[str, ...] = ()
    #: The pointer size → the whole arena with it; empty where the device has an operating system.
    arena_bytes_by_pointer: Mapping[int, int] = field(default_factory=dict)
    pointer_bytes: int | None = None  # the size that `arena_bytes` counts with

    @property
    def fits(self) -> bool:
        """Every memory holds its part, and every operator can run."""
        return all(region.fits for region in self.regions) and not self.unsupported_operators

    def to_json(self) -> dict[str, Any]:
        """Return the document that `edgecnn fit --json` prints."""
        return {
            "file": self.file,
            "device": self.device,
            "fits": self.fits,
            "method": "estimated",
            "regions": [
                {
                    "name": region.name,
                    "used_bytes": region.used_bytes,
                    "limit_bytes": region.limit_bytes,
                    "headroom_bytes": region.headroom_bytes,
                    "parts": dict(region.parts),
                }
                for region in self.regions
            ],
            "arena_bytes": self.arena_bytes,
            "arena_head_bytes": self.arena_head_bytes,
            "pointer_bytes": self.pointer_bytes,
            "arena_bytes_by_pointer": {str(size): total for size, total in self.arena_bytes_by_pointer.items()},
            "peak": None
            if self.peak is None
            else {
                "operator": self.peak.operator,
                "step": self.peak.step,
                "live_bytes": self.peak.live_bytes,
                "tensors": [{"name": name, "bytes": size} for name, size in self.peak.tensors],
            },
            "live_bytes": list(self.live_bytes),
            "unsupported_operators": list(self.unsupported_operators),
            "next_steps": list(self.next_steps),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }
