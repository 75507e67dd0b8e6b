"""What is called slower, faster, the same, and not comparable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.benchmarks.changes import Change, find_change
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement, Memory, Run

MACHINE = {
    "cpu": "Cortex-A72",
    "machine": "aarch64",
    "cores_allowed": 4,
    "cores_quota": None,
    "governors": ["performance"],
}
MEDIANS = st.lists(st.integers(1_000, 10_000_000), min_size=1, max_size=10)


def result(*processes: Any, file: str = "out/m.tflite") -> Measurement:
    """Return a measurement with these values of each process, in nanoseconds."""
    runs = tuple(
        Run(
            import_ns=1,
            load_ns=2,
            first_ns=3,
            warmup=4,
            loops=1,
            values_ns=tuple(map(round, np.atleast_1d(values))),
            memory=Memory(),
            finite=True,
        )
        for values in processes
    )
    return Measurement(
        file=file,
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version="2.3.0",
        device="rpi4",
        target="ssh://pi",
        threads=1,
        runs=runs,
        size_bytes=10,
        interface="capi",
        conditions=MACHINE,
    )


def simulated(rng: np.random.Generator, factor: float = 1.0, spread: float = 0.02) -> Measurement:
    """Return 9 processes of 30 values: processes differ by *spread*, the values within one by a tenth of it."""
    level = 1e6 * factor * rng.lognormal(0, spread, size=(9, 1))
    return result(*(level * rng.lognormal(0, spread / 10, size=(9, 30))))


def verdicts(factor: float, tolerance: float, trials: int) -> Counter[str]:
    """Return how often which verdict comes out of *trials* simulated comparisons."""
    rng = np.random.default_rng(7)
    pairs = ((simulated(rng), simulated(rng, factor)) for _ in range(trials))
    return Counter(find_change(later, [earlier], tolerance).verdict for earlier, later in pairs)


def test_chance_is_rarely_called_a_change() -> None:
    """Of 400 pairs without a difference about 5 % are called one at tolerance 0, though values within a process agree.

    At 5 % over 33 come up once in 400 times; a test over six values of each process calls 37 % of them different.
    """
    found = verdicts(1.0, 0.0, trials=400)
    assert 3 <= found["slower"] + found["faster"] <= 33


def test_within_the_tolerance_chance_is_never_a_regression() -> None:
    """No pair without a difference is called slower or faster at 5 %, nearly all are called the same."""
    found = verdicts(1.0, 0.05, trials=200)
    assert found["slower"] + found["faster"] == 0
    assert found["same"] >= 190


def test_ten_percent_are_found() -> None:
    """A slowdown of 10 % is found in at least 95 of 100 pairs at the tolerance of 5 %, never the opposite."""
    found = verdicts(1.10, 0.05, trials=200)
    assert found["slower"] >= 190
    assert found["faster"] + found["same"] == 0


@given(MEDIANS, MEDIANS, st.floats(0, 0.5))
def test_the_other_way_round_it_is_the_opposite(before: list[int], after: list[int], tolerance: float) -> None:
    """Swapped, faster is slower, and the ratio and its interval are the inverse."""
    there, back = (
        find_change(result(*new), [result(*old)], tolerance) for old, new in ((before, after), (after, before))
    )
    opposite = {"faster": "slower", "slower": "faster"}
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert (back.low is None) == (there.low is None)
    if there.low is not None and there.high is not None:
        assert back.low == pytest.approx(1 / there.high)
        near = any(abs(end * (1 + tolerance) ** side - 1) < 1e-9 for end in (there.low, there.high) for side in (-1, 1))
        assert near or back.verdict == opposite.get(there.verdict, there.verdict)


@given(MEDIANS, st.floats(1.001, 10))
def test_a_scaled_result_changed_by_the_scale(medians: list[int], factor: float) -> None:
    """The ratio of a result to itself is 1; every call taking so many times as long is that ratio."""
    same = find_change(result(*medians), [result(*medians)])
    assert same.ratio == pytest.approx(1)
    scaled = find_change(result(*(value * factor for value in medians)), [result(*medians)])
    assert scaled.ratio == pytest.approx(factor, rel=1e-3)


def test_the_verdict_follows_the_interval() -> None:
    """Beyond the tolerance, within, or across its edge: each has its word."""

    def verdict(low: float | None, high: float | None) -> str:
        return Change(
            file="m",
            runtime="litert",
            device="host",
            threads=1,
            unit="ns",
            earlier=1.0,
            later=1.0,
            ratio=1.0,
            low=low,
            high=high,
            tolerance=0.05,
            missing_processes=0,
        ).verdict

    assert verdict(1.06, 1.20) == "slower"
    assert verdict(0.80, 0.95) == "faster"
    assert verdict(0.96, 1.04) == "same"
    assert verdict(1.01, 1.04) == "same"  # surely slower, by less than counts
    assert verdict(1.04, 1.06) == "undecided"
    assert verdict(0.50, 2.00) == "undecided"
    assert verdict(None, None) == "undecided"


def test_three_processes_decide_nothing() -> None:
    """Three against three is undecided, however far apart, and says how many more it takes; 3 and 5 decide."""
    change = find_change(result(900, 910, 920), [result(100, 101, 102)])
    assert change.verdict == "undecided"
    assert change.to_json()["low"] is None
    assert change.remedy is not None
    assert "at least 2 more" in change.remedy
    assert find_change(result(900, 910, 920, 930, 940), [result(100, 101, 102)]).verdict == "slower"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"conditions": {**MACHINE, "cpu": "Cortex-A76"}}, "CPU 'Cortex-A72' then, 'Cortex-A76' now"),
        ({"conditions": {**MACHINE, "governors": ["ondemand"]}}, "governor 'performance' then, 'ondemand' now"),
        ({"conditions": {**MACHINE, "governors": None}}, "governor 'performance' then, not known now"),
        ({"conditions": {**MACHINE, "cores_quota": 1.5}}, "core quota not known then, '1.5' now"),
        ({"device": "rpi5"}, "device 'rpi4' then, 'rpi5' now"),
        ({"target": "local"}, "target 'ssh://pi' then, 'local' now"),
        ({"runtime": "tflite"}, "runtime 'litert' then, 'tflite' now"),
        ({"runtime_version": "2.4.0"}, "runtime version '2.3.0' then, '2.4.0' now"),
        ({"interface": "python"}, "interface 'capi' then, 'python' now"),
        ({"threads": 4}, "threads '1' then, '4' now"),
        ({"precision": "fp32"}, "precision 'w8a8' then, 'fp32' now"),
        ({"method": "emulated"}, "method 'measured' then, 'emulated' now"),
    ],
)
def test_other_conditions_are_refused(other: dict[str, Any], told: str) -> None:
    """Each condition that differs is named with both values, in one line."""
    before = result(*range(100, 109))
    with pytest.raises(EdgecnnError, match=told) as refused:
        find_change(replace(before, **other), [before])
    assert "\n" not in str(refused.value)


def test_the_result_under_the_same_conditions_is_found() -> None:
    """Among several results of a file the one taken the same way is compared with, the last where there are two."""
    one, four = result(*[100] * 9), replace(result(*[50] * 9), threads=4)
    assert find_change(four, [one, four]).ratio == pytest.approx(1)
    assert find_change(one, [four, result(*[300] * 9), one]).ratio == pytest.approx(1)


def test_a_file_is_found_by_its_path_then_by_its_name() -> None:
    """A file that moved is still the same one; two of one name elsewhere are told, and so is none."""
    now = result(*[100] * 9)
    here, there = result(*[50] * 9, file="a/m.tflite"), result(*[25] * 9, file="b/m.tflite")
    assert find_change(now, [here, result(*[100] * 9)]).ratio == pytest.approx(1)
    assert find_change(now, [here]).ratio == pytest.approx(2)
    with pytest.raises(EdgecnnError, match=r"several files of the name of out/m\.tflite: a/m\.tflite, b/m\.tflite"):
        find_change(now, [here, there])
    with pytest.raises(EdgecnnError, match=r"have none of out/m\.tflite; they have x\.onnx"):
        find_change(now, [result(1, file="x.onnx")])
    with pytest.raises(EdgecnnError, match="they have nothing"):
        find_change(now, [])


def test_counted_instructions_are_compared_where_there_is_no_clock() -> None:
    """On an emulated board the instructions of a call take the place of its latency, and the change says so."""

    def counted(*instructions: int) -> Measurement:
        runs = tuple(replace(result(1).runs[0], values_ns=(), instructions=count) for count in instructions)
        return replace(result(), runs=runs, method="emulated")

    change = find_change(counted(1101, 1100, 1100, 1099), [counted(1000, 1000, 1001, 1000)])
    assert (change.unit, change.earlier, change.later, change.verdict) == ("instructions", 1000, 1100, "slower")
    with pytest.raises(EdgecnnError, match="no latency"):
        find_change(counted(1), [replace(result(1), method="emulated")])


def test_without_latency_there_is_nothing_to_compare() -> None:
    """A result without values (none was taken) is refused in one line."""
    with pytest.raises(EdgecnnError, match="have no latency in common"):
        find_change(result(1, 2, 3), [result()])
