"""What makes a measurement lie is said, with the remedy; a quiet one is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgecnn.benchmarks.stability import RULES, find_instabilities
from edgecnn.measurement import Measurement, Memory, Run

QUIET = {
    "frequencies_mhz": [1500.0],
    "temperatures_c": {"cpu": 50.0},
    "throttled": 0,
    "busy_ticks": 1000,
    "steal_ticks": 0,
    "ticks_per_second": 100,
    "process_ns": 0,
    "monotonic_ns": 0,
}
LATER = {**QUIET, "busy_ticks": 1200, "process_ns": 2 * 10**9, "monotonic_ns": 2 * 10**9}


def run(values_ns: tuple[int, ...] = (1000, 1010) * 25, before: Any = None, after: Any = None, **other: Any) -> Run:
    """Return a quiet run, changed as told."""
    plain = Run(
        import_ns=1,
        load_ns=2,
        first_ns=3,
        warmup=4,
        loops=1,
        values_ns=values_ns,
        memory=Memory(),
        finite=True,
        before={**QUIET, **(before or {})},
        after={**LATER, **(after or {})},
    )
    return replace(plain, **other)


def of(*runs: Run, threads: int = 1, **conditions: Any) -> Measurement:
    """Return a measurement of these runs on four cores."""
    known = {"cores_allowed": 4, "cores_quota": None, "governors": ["performance"], **conditions}
    return Measurement(
        file="m.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        runtime_version="1",
        device="host",
        target="local",
        threads=threads,
        runs=runs,
        size_bytes=10,
        conditions=known,
    )


def test_a_quiet_measurement_is_stable() -> None:
    """Where nothing disturbs, nothing is said."""
    assert find_instabilities(of(run(), run(), run())) == ()


def test_what_is_not_known_is_not_blamed() -> None:
    """A machine that tells nothing about itself breaks no rule by that."""
    silent = replace(run(), before={}, after={})
    assert find_instabilities(of(silent, silent, cores_allowed=None, governors=None)) == ()


@pytest.mark.parametrize(
    ("measurement", "reason", "remedy"),
    [
        (of(run(finite=False), run(), run()), "NaN or infinite", "edgecnn compare"),
        (of(run((1000, 1300) * 50)), "middle half of the values spans 26.09 %", "close other programs"),
        (of(run((1000,) * 197 + (1600,) * 3)), "3 of 200 values", "measure again"),
        (of(run(), run((1100,) * 50)), "processes disagree", "--processes"),
        (of(run((1000,) * 20)), "only 20 values", "--min-time"),
        (of(run(), run(after={"busy_ticks": 1300})), "other programs kept 0.5 cores busy", "close them"),
        (of(run(), run(after={"steal_ticks": 10})), "hypervisor took 5.00 %", "hardware of your own"),
        (of(run(), run(), governors=["powersave"]), "governor is powersave", "scaling_governor"),
        (of(run(), run(after={"frequencies_mhz": [1200.0]})), "fell from 1500 to 1200 MHz", "cool it"),
        (of(run(), run(after={"throttled": 0x50000})), "under-voltage, throttling", "stronger supply"),
        (of(run(), run(after={"temperatures_c": {"cpu": 81.0}})), "81 °C", "cool the board"),
        (of(run(), run(), threads=8), "8 threads share 4 cores", "--threads 4"),
        (of(run(), run(), threads=2, cores_quota=1.5), "2 threads share 1.5 cores", "--threads 1"),
    ],
)
def test_each_disturbance_is_said(measurement: Measurement, reason: str, remedy: str) -> None:
    """One disturbance gives one sentence, with the reason and what to do about it."""
    found = find_instabilities(measurement)
    assert len(found) == 1
    assert reason in found[0]
    assert remedy in found[0]


def test_one_stall_is_told_as_one() -> None:
    """A value that outweighs thousands of others is a stall of the machine; the others are neither far nor spread."""
    (found,) = find_instabilities(of(run((10_000,) * 3010 + (3 * 10**9,))))
    assert "the machine stalled: 1 of 3011 values" in found
    assert "3 s" in found


def test_every_rule_says_itself() -> None:
    """The docstring of each rule is the rule."""
    assert all(rule.__doc__ for rule in RULES)
