"""What may make a measurement lie: each rule says the reason and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgecnn.measurement import MEASURED, Measurement, Run, percentile
from edgecnn.units import format_ns, format_share

Rule = Callable[[Measurement], str | None]


def find_instabilities(measurement: Measurement) -> tuple[str, ...]:
    """Return one sentence for each rule that *measurement* breaks."""
    rules = RULES if measurement.method == MEASURED else (non_finite,)  # the others are about clocks
    found = (rule(measurement) for rule in rules)
    return tuple(sentence for sentence in found if sentence is not None)


def non_finite(measurement: Measurement) -> str | None:
    """No NaN and no infinity comes out."""
    if all(run.finite for run in measurement.runs):
        return None
    return "its outputs contain NaN or infinite values; check the file with edgecnn compare"


def spread(measurement: Measurement) -> str | None:
    """The middle half of the values spans less than 10 % of the median.

    pyperf takes the standard deviation; among thousands of values that is what one stall of the machine makes it.
    """
    values = measurement.values_ns
    low, middle, high = (percentile(values, percent) for percent in (25, 50, 75))
    if low is None or middle is None or high is None or high - low < 0.10 * middle:
        return None
    share = format_share((high - low) / middle)
    return f"the middle half of the values spans {share} of the median; close other programs and measure for longer"


def outliers(measurement: Measurement) -> str | None:
    """Under 1 % of the values are 50 % or more away from the median.

    pyperf allows none among some sixty values; among the thousands taken here there is always one.
    """
    values, middle = measurement.values_ns, measurement.p50_ns or 0.0
    far = _far_values(measurement)
    if len(far) < 0.01 * len(values) or not far:
        return None
    furthest = max(far, key=lambda value: abs(value - middle))
    return (
        f"{len(far)} of {len(values)} values are 50 % or more from the median, one is {format_ns(furthest)}; "
        "something else was running: trust the p50, not the p99, or measure again"
    )


def stalls(measurement: Measurement) -> str | None:
    """A few values far above the median did not take 10 % of the time measured."""
    values, middle = measurement.values_ns, measurement.p50_ns or 0.0
    far = [value for value in _far_values(measurement) if value > middle]
    if not far or len(far) >= 0.01 * len(values) or sum(far) < 0.10 * sum(values):
        return None
    return (
        f"the machine stalled: {len(far)} of {len(values)} values took {format_share(sum(far) / sum(values))} of the "
        f"time, one {format_ns(max(far))}; trust the p50, not the calls a second, or measure again"
    )


def disagreement(measurement: Measurement) -> str | None:
    """The medians of the processes lie within 5 % of each other."""
    medians = [run.median_ns for run in measurement.runs if run.median_ns]
    if len(medians) < 2 or max(medians) < 1.05 * min(medians):
        return None
    return (
        f"the processes disagree: their medians reach from {format_ns(min(medians))} to {format_ns(max(medians))}; "
        "use more --processes"
    )


def few_values(measurement: Measurement) -> str | None:
    """There are at least 100 values, without which there is no p99."""
    count = len(measurement.values_ns)
    if count >= 100 or not measurement.runs:
        return None
    return f"only {count} values, too few for a p99; use more --processes or a longer --min-time"


def other_load(measurement: Measurement) -> str | None:
    """Other programs kept less than a quarter of one core busy while it was measured."""
    busy = [cores for run in measurement.runs if (cores := _busy_cores_of_others(run)) is not None]
    if not busy or max(busy) < 0.25:
        return None
    return f"other programs kept {max(busy):.1f} cores busy meanwhile; close them and measure again"


def stolen_time(measurement: Measurement) -> str | None:
    """The hypervisor took less than 1 % of a core's time from this machine."""
    shares = [share for run in measurement.runs if (share := _ticks_share(run, "steal_ticks")) is not None]
    if not shares or max(shares) < 0.01:
        return None
    return f"the hypervisor took {format_share(max(shares))} of a core's time; measure on hardware of your own"


def governor(measurement: Measurement) -> str | None:
    """Every core's frequency governor is `performance`."""
    found = set(measurement.conditions.get("governors") or ()) - {"performance"}
    if not found:
        return None
    return (
        f"the CPU frequency governor is {', '.join(sorted(found))}; set performance: "
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    )


def falling_frequency(measurement: Measurement) -> str | None:
    """In no process did the highest core frequency fall over 10 % below that of its start."""
    for run in measurement.runs:
        fell = _frequency_fall(run)
        if fell is not None:
            return f"the CPU frequency fell from {fell[0]:.0f} to {fell[1]:.0f} MHz; cool it, or fix the frequency"
    return None


def _frequency_fall(run: Run) -> tuple[float, float] | None:
    """Return the highest core frequency at the start and the lowest it fell to, where that is over 10 % less."""
    highest = [max(state["frequencies_mhz"]) for state in run.states if state.get("frequencies_mhz")]
    return (highest[0], min(highest)) if highest and min(highest) < 0.9 * highest[0] else None


def is_throttled(run: Run) -> bool:
    """Return whether the board slowed itself down during *run*: its firmware says so, or the frequency fell."""
    return any((state.get("throttled") or 0) & 0xF for state in run.states) or _frequency_fall(run) is not None


def throttling(measurement: Measurement) -> str | None:
    """The firmware reports no under-voltage, capping or throttling (Raspberry Pi: `vcgencmd get_throttled`)."""
    names = {0: "under-voltage", 1: "a capped frequency", 2: "throttling", 3: "the soft temperature limit"}
    flags = 0
    for end in _ends(measurement):
        flags |= end.get("throttled") or 0
    found = [name for bit, name in names.items() if flags >> bit & 1 or flags >> (bit + 16) & 1]
    if not found:
        return None
    return (
        f"the board reports {', '.join(found)} (now or since its start); use a stronger supply, cool it, and add "
        f"--cool-down 60 to repeat throttled processes"
    )


def heat(measurement: Measurement) -> str | None:
    """No sensor shows 80 degrees or more, where boards begin to throttle."""
    hottest = max((max((end.get("temperatures_c") or {0: 0.0}).values()) for end in _ends(measurement)), default=0.0)
    return None if hottest < 80 else f"a sensor showed {hottest:.0f} °C; cool the board and measure again"


def too_many_threads(measurement: Measurement) -> str | None:
    """There are no more threads than cores this process may use."""
    given = [measurement.conditions.get("cores_allowed"), measurement.conditions.get("cores_quota")]
    cores = min((count for count in given if count is not None), default=None)
    if cores is None or measurement.threads <= cores:
        return None
    return f"{measurement.threads} threads share {cores:g} cores; take --threads {max(1, int(cores))} at most"


RULES: tuple[Rule, ...] = (
    non_finite,
    spread,
    outliers,
    stalls,
    disagreement,
    few_values,
    other_load,
    stolen_time,
    governor,
    falling_frequency,
    throttling,
    heat,
    too_many_threads,
)


def _far_values(measurement: Measurement) -> list[int]:
    middle = measurement.p50_ns or 0.0
    return [value for value in measurement.values_ns if abs(value - middle) >= 0.5 * middle]


def _ends(measurement: Measurement) -> Iterator[Mapping[str, Any]]:
    for run in measurement.runs:
        yield from run.states


def _ticks_share(run: Run, key: str) -> float | None:
    """Return how many cores' time the counter *key* grew by during the run; None where it is not known."""
    duration_ns = run.after.get("monotonic_ns", 0) - run.before.get("monotonic_ns", 0)
    before, after, hz = run.before.get(key), run.after.get(key), run.before.get("ticks_per_second")
    if before is None or after is None or not hz or duration_ns <= 0:
        return None
    return float((after - before) / hz / (duration_ns / 1e9))


def _busy_cores_of_others(run: Run) -> float | None:
    busy, ends = _ticks_share(run, "busy_ticks"), (run.before, run.after)
    if busy is None or not all("process_ns" in end and "monotonic_ns" in end for end in ends):
        return None
    own_ns = int(run.after["process_ns"]) - int(run.before["process_ns"])
    return busy - own_ns / (int(run.after["monotonic_ns"]) - int(run.before["monotonic_ns"]))


__all__ = ["RULES", "find_instabilities"]
