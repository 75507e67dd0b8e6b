"""Whether a file became faster or slower since an earlier result, taken under the same conditions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.benchmarks.shift import least_values, shift_between
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement
from edgecnn.short_repr import short_repr

#: Worker processes of a result that is to be compared; Google Benchmark asks for as many repetitions before its U test.
COMPARED_PROCESSES = 9

TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one case changed in latency, or in instructions; ratios are later / earlier, the interval is one of 95 %.

    Example:
        >>> (measurement,) = edgecnn.read_measurements("results.json")
        >>> change = edgecnn.find_change(measurement, [measurement])
        >>> change.ratio, change.verdict
        (1.0, 'same')
    """

    __repr__ = short_repr

    file: str
    runtime: str
    device: str
    threads: int
    unit: str  # "ns"; "instructions" where a board without a clock counts those
    earlier: float  # the median of the processes' medians
    later: float
    ratio: float
    low: float | None  # None: too few processes for an interval
    high: float | None
    tolerance: float
    missing_processes: int  # how many more are needed beside the earlier ones for an interval; 0: there is one

    @property
    def verdict(self) -> str:
        """`slower`, `faster`: all of the interval is beyond the tolerance; `same`: all is within; else `undecided`.

        The tolerance is a factor, the same either way: at 5 % a file is slower from 1.05, faster from 1/1.05.
        """
        if self.low is None or self.high is None:
            return "undecided"
        most = 1 + self.tolerance
        if self.low > most:
            return "slower"
        if self.high < 1 / most:
            return "faster"
        return "same" if self.low >= 1 / most and self.high <= most else "undecided"

    @property
    def remedy(self) -> str | None:
        """What would decide it; None where it is decided."""
        if self.missing_processes:
            least = f"at least {self.missing_processes} more"
            return f"too few processes to decide: use {least}, {COMPARED_PROCESSES} both times is good"
        return "use more --processes, or a quieter machine" if self.verdict == "undecided" else None

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the verdict; an interval that is not known is null."""
        return {
            "file": self.file,
            "runtime": self.runtime,
            "device": self.device,
            "threads": self.threads,
            "verdict": self.verdict,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
            "tolerance": self.tolerance,
            "unit": self.unit,
            "earlier": self.earlier,
            "later": self.later,
        }


def find_change(measurement: Measurement, earlier: Sequence[Measurement], tolerance: float = TOLERANCE) -> Change:
    """Compare *measurement* with the result of the same file among *earlier* ones.

    The median of each process is one value: processes are independent of each other, calls within one are not. The
    logarithms of the medians are compared by a Mann-Whitney U test, so the shift between them is a ratio.

    Args:
        measurement: the later result.
        earlier: those of an earlier run; what else is in it does not matter.
        tolerance: changes up to this fraction are ignored. It must cover differences from day to day, which no number
            of processes on one day can show.

    Raises:
        EdgecnnError: *earlier* has no result of the file, or only under other conditions (the message says which), or
            one of the two has no latency.

    Example:
        >>> before, after = edgecnn.read_measurements("before.json"), edgecnn.read_measurements("results.json")
        >>> edgecnn.find_change(after[0], before).ratio
        2.0
    """
    before = find_counterpart(measurement.file, conditions_of(measurement), earlier)
    units = ("ns", "instructions")
    figures = [(unit, _of_processes(before, unit), _of_processes(measurement, unit)) for unit in units]
    taken = [(unit, then, now) for unit, then, now in figures if then and now]
    if not taken:
        raise EdgecnnError(
            f"{measurement.file}: the two results have no latency in common; there is nothing to compare"
        )
    unit, then, now = taken[0]
    shift = shift_between(np.log(then), np.log(now))
    known = math.isfinite(shift.low)
    return Change(
        file=measurement.file,
        runtime=measurement.runtime,
        device=measurement.device,
        threads=measurement.threads,
        unit=unit,
        earlier=statistics.median(then),
        later=statistics.median(now),
        ratio=math.exp(shift.estimate),
        low=math.exp(shift.low) if known else None,
        high=math.exp(shift.high) if known else None,
        tolerance=tolerance,
        missing_processes=0 if known else least_values(len(then)) - len(now),
    )


def _of_processes(measurement: Measurement, unit: str) -> list[float]:
    """Return the figure of each process: the median latency, or the instructions of a call, where taken."""
    figures = [run.median_ns if unit == "ns" else run.instructions for run in measurement.runs]
    return [figure for figure in figures if figure]


def conditions_of(measurement: Measurement) -> dict[str, Any]:
    """Return what must be the same for two latencies to be comparable, by the name a user knows it by."""
    machine = measurement.conditions
    return {
        "device": measurement.device,
        "target": measurement.target,
        "CPU": machine.get("cpu"),
        "architecture": machine.get("machine"),
        "cores": machine.get("cores_allowed"),
        "core quota": machine.get("cores_quota"),
        "governor": ", ".join(machine.get("governors") or ()) or None,
        "runtime": measurement.runtime,
        "runtime version": measurement.runtime_version,
        "interface": measurement.interface,
        "threads": measurement.threads,
        "precision": measurement.precision,
        "method": measurement.method,
    }


def find_counterpart(file: str, here: Mapping[str, Any], earlier: Sequence[Measurement]) -> Measurement:
    """Return the last of the *earlier* results of the same file that was taken under the same conditions.

    Args:
        file: its path; where no earlier result has that path, one of the same name counts.
        here: the conditions that are known, as `conditions_of` names them; others are not compared.
        earlier: where to look.

    Raises:
        EdgecnnError: no such file, several of that name, or other conditions alone; the message names each that
            differs, with both values.
    """
    same_path = [result for result in earlier if result.file == file]
    same_name = [result for result in earlier if Path(result.file).name == Path(file).name]
    candidates = same_path or same_name
    if not candidates:
        known = ", ".join(sorted({result.file for result in earlier})) or "nothing"
        raise EdgecnnError(f"the earlier results have none of {file}; they have {known}; measure it with -o first")
    if len({result.file for result in candidates}) > 1:
        paths = ", ".join(sorted({result.file for result in candidates}))
        raise EdgecnnError(f"the earlier results have several files of the name of {file}: {paths}")

    def differences(result: Measurement) -> list[str]:
        there = conditions_of(result)
        return [f"{key} {_said(there[key])} then, {_said(here[key])} now" for key in here if there[key] != here[key]]

    nearest = min(reversed(candidates), key=lambda result: len(differences(result)))
    if differences(nearest):
        raise EdgecnnError(
            f"{file} was measured earlier under other conditions: {'; '.join(differences(nearest))}; "
            "latencies can only be compared under the same conditions"
        )
    return nearest


def _said(value: Any) -> str:
    return "not known" if value is None else f"'{value}'"
