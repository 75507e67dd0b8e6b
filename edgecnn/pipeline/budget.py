"""`Budget`: what a compressed network may lose and may take, and how far one is from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgecnn.compress.settings import Search
from edgecnn.device import DeviceProfile, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.fit import device_within
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score
from edgecnn.units import format_bytes, format_ns

_ROUNDING = 1e-9  # of shares, which is less than one of a thousand million samples


@dataclass(frozen=True)
class MemoryUse:
    """One memory of a device: what the exported file takes of it, estimated, and what there is."""

    name: str
    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True)
class LatencyEstimate:
    """How long the w8a8 TFLite file is estimated to take on a device, one thread, and the band."""

    p50_ns: float
    low_ns: float
    high_ns: float
    device: str


@dataclass(frozen=True)
class NetworkStatus:
    """What is known of a network on its way; None: not asked for."""

    __repr__ = short_repr

    params: int
    macs: int
    score: Score | None = None  # on the validation part
    size_bytes: int | None = None  # of its w8a8 TFLite file
    memory: tuple[MemoryUse, ...] = ()  # of the device that it is to fit
    latency: LatencyEstimate | None = None  # on the device that it is to be fast on


@dataclass(frozen=True)
class SparseSize:
    """What zeros among the weights are worth."""

    sparsity: float  # share of the weights of convolutions and linear layers that are 0
    size_bytes: int  # of the w8a8 TFLite file, in which a 0 takes a byte like any other weight
    zip_bytes: int  # of that file compressed by zip


@dataclass(frozen=True)
class Shortfall:
    """A goal that is not met."""

    sentence: str
    per: str  # what going on should save: one of `edgecnn.compress.sensitivity.GAINS`
    share: float  # of what the network has of it now, that is still to go


#: Of the score that may be lost. More is of no use, and most likely points that were meant as a fraction.
LARGEST_DROP = 0.25


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The goals of a compression, within which the cuts that cost least are searched; None: there is no such goal.

    Example:
        >>> edgecnn.Budget(max_drop=0.01, size_bytes=200 * 1024).needs_file
        True
    """

    max_drop: float | None = None  # of the task's score, as a fraction: 0.01 is one point
    max_macs_ratio: float | None = None  # fraction of the original's multiply-adds that may be left
    max_params_ratio: float | None = None  # likewise of the parameters
    size_bytes: int | None = None  # of the w8a8 TFLite file on disk
    device: str | None = None  # whose RAM and flash that file has to fit
    ram_bytes: int | None = None  # that it may take, in place of the device's; without one on a bare microcontroller
    flash_bytes: int | None = None  # likewise
    latency_ns: float | None = None  # that file may be estimated to take on one thread of ...
    latency_device: str | None = None  # ... this device; None: the one that it has to fit
    #: Where that file is measured at the end, as `measure_files` takes a target; None: the estimate is what counts.
    measured_on: str | None = None
    #: Score that drops are counted from, as a fraction; None: the original's on the part that is judged by.
    reference: float | None = None
    search: Search = field(default_factory=Search)

    def __post_init__(self) -> None:
        for name in ("ram", "flash"):
            size = getattr(self, f"{name}_bytes")
            if size is not None and size < 1:
                raise EdgecnnError(f"a limit of {size} bytes of {name} is too small; give --{name}, for example 64KiB")
        if self.max_drop is not None and not 0 <= self.max_drop <= LARGEST_DROP:
            raise EdgecnnError(
                f"the score may drop by 0 to {100 * LARGEST_DROP:g} points, not {100 * self.max_drop:g}: in Python "
                "max_drop is a fraction, 0.02 for 2 points; on the command line --max-drop 2 is 2 points"
            )
        for name in ("macs", "params"):
            share = getattr(self, f"max_{name}_ratio")
            if share is not None and not 0 < share < 1:
                raise EdgecnnError(
                    f"max_{name}_ratio (--{name}) is a fraction of the original's {name} between 0 and 1, 0.5 for "
                    f"half, not {share:g}"
                )
        if self.size_bytes is not None and self.size_bytes < 1:
            raise EdgecnnError("a file has at least one byte; give --size like 200KiB")
        if self.latency_ns is not None and not 0 < self.latency_ns < math.inf:
            raise EdgecnnError("a network takes more than no time; give --latency like 12ms")
        if (self.latency_ns is None) != (self.latency_device is None) and not (self.latency_ns and self.device):
            raise EdgecnnError("a latency is that of a device: give --latency and --device together, 12ms and rpi4")
        if self.measured_on is not None and self.latency_ns is None:
            raise EdgecnnError("a target is where a latency is measured: give --latency and --device too")
        if self.reference is not None and not 0.01 < self.reference <= 1:
            raise EdgecnnError(
                "the accuracy that drops are counted from is above 1 % and at most 100 %, not "
                f"{100 * self.reference:g} %"
            )

    @property
    def has_goal(self) -> bool:
        """Whether anything is asked for."""
        return self.max_drop is not None or not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether nothing but the score says when to stop."""
        return self.max_macs_ratio is None and self.max_params_ratio is None and not self.needs_file

    @property
    def needs_file(self) -> bool:
        """Whether a network has to be exported to be judged."""
        return self.size_bytes is not None or self.latency_ns is not None or self.needs_fit

    @property
    def needs_fit(self) -> bool:
        """Whether the file has to fit a device, or a limit of RAM or flash."""
        return not (self.device is None and self.ram_bytes is None and self.flash_bytes is None)

    def target(self) -> DeviceProfile | None:
        """Return the device that the file has to fit, with the budget's limits; None: nothing has to fit.

        Raises:
            EdgecnnError: no such device.
        """
        if not self.needs_fit:
            return None
        return device_within(self.device, ram_bytes=self.ram_bytes, flash_bytes=self.flash_bytes)

    def latency_target(self) -> DeviceProfile | None:
        """Return the device whose latency is limited; None: none is.

        Raises:
            EdgecnnError: no such device.
        """
        name = self.fast_on
        return None if self.latency_ns is None or name is None else load_device(name)

    @property
    def fast_on(self) -> str | None:
        """The device whose latency counts, as the user calls it."""
        return self.latency_device or self.device

    def shortfalls(self, original: NetworkStatus, now: NetworkStatus) -> tuple[Shortfall, ...]:
        """Return the goals of size that *now* does not meet."""
        return tuple(self._shortfalls(original, now))

    def _shortfalls(self, original: NetworkStatus, now: NetworkStatus) -> Iterator[Shortfall]:
        shares = (
            ("MACs", "macs", self.max_macs_ratio, original.macs, now.macs),
            ("parameters", "bytes", self.max_params_ratio, original.params, now.params),
        )
        for what, per, goal, before, after in shares:
            if goal is not None and after > goal * before:
                sentence = f"{100 * after / before:.1f} % of the {what} are left, the goal is {100 * goal:g} %"
                yield Shortfall(sentence, per, 1 - goal * before / after)
        if self.size_bytes is not None and now.size_bytes is not None and now.size_bytes > self.size_bytes:
            sentence = (
                f"its w8a8 TFLite file takes {format_bytes(now.size_bytes)} ({now.size_bytes} bytes), "
                f"the goal is {format_bytes(self.size_bytes)} ({self.size_bytes} bytes)"
            )
            yield Shortfall(sentence, "bytes", 1 - self.size_bytes / now.size_bytes)
        if self.latency_ns is not None and now.latency is not None and now.latency.p50_ns > self.latency_ns:
            sentence = (
                f"its w8a8 TFLite file is estimated at {format_ns(now.latency.p50_ns)} on {now.latency.device}, "
                f"the goal is {format_ns(self.latency_ns)}"
            )
            yield Shortfall(sentence, "latency", 1 - self.latency_ns / now.latency.p50_ns)
        for use in now.memory:
            if use.used_bytes > use.limit_bytes:
                of = "" if self.device is None else f" of {self.device}"
                sentence = (
                    f"it takes {format_bytes(use.used_bytes)} of the {use.name}{of}; "
                    f"the limit is {format_bytes(use.limit_bytes)}"
                )
                yield Shortfall(sentence, self._saved_in(use.name), 1 - use.limit_bytes / use.used_bytes)

    def _saved_in(self, memory: str) -> str:
        """Return what a network should save that takes too much of a *memory* of the device.

        A microcontroller's RAM holds activations alone, those of the operator that needs the most. A system's holds
        weights as well, and both go with the MACs.
        """
        if memory == "flash":
            return "bytes"
        device = self.target()
        return "activations" if device is not None and device.kind == "mcu" else "macs"

    def unmet(self, original: NetworkStatus, now: NetworkStatus, reference: float | None = None) -> tuple[str, ...]:
        """Return a sentence for each goal that *now* does not meet, those of size and that of the score."""
        drop = drop_of(reference, now)
        sentences = [shortfall.sentence for shortfall in self.shortfalls(original, now)]
        if not self.allows(drop):
            name = "score" if now.score is None else now.score.name
            sentences.append(
                f"the {name} is {100 * (drop or 0):.2f} points lower; the goal allows {100 * (self.max_drop or 0):g}"
            )
        return tuple(sentences)

    def allows(self, drop: float | None, times: float = 1.0) -> bool:
        """Return whether *drop* is so many *times* the one that may be, or less; one that is not known may be."""
        # A drop is a difference of shares: 0.93 - 0.92 is a bit more than 0.01.
        return self.max_drop is None or drop is None or drop <= times * self.max_drop + _ROUNDING


def drop_of(reference: float | None, now: NetworkStatus) -> float | None:
    """Return by how much the score of *now* is worse than *reference*; None where one of them is not known."""
    return None if reference is None or now.score is None else now.score.drop_from(reference)
