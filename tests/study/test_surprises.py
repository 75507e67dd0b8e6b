"""How well FLOPS predict what a deployed network takes."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from edgecnn.study import runner, surprises
from edgecnn.study.results import Result
from edgecnn.study.surprises import correlations, ranks, spearman, summary_of


def deployed(name: str, flops: int, p50_ns: float | None, size_bytes: int, estimate_ns: float | None) -> Result:
    """A network with one int8 TFLite file, and a float file that failed."""
    file: dict[str, Any] = {
        "file": f"{name}.w8a8.tflite",
        "format": "tflite",
        "precision": "w8a8",
        "failed": None,
        "counted": {"operators": 20, "moving_operators": 3, "depthwise_share": 0.25},
        "measured": {"size_bytes": size_bytes, "p50_ns": p50_ns},
        "estimated": {"rpi4": {"p50_ns": estimate_ns, "fits": True}},
    }
    failed = {"file": f"{name}.fp32.tflite", "failed": "the converter raised KeyError"}
    return Result(name, {}, {"counted": {"fvcore_flops": flops, "macs": flops // 2}, "files": [file, failed]})


RESULTS = [
    deployed("a", 1_000_000, 9e6, 100, 1e6),
    deployed("b", 2_000_000, 2e6, 200, 2e6),
    deployed("c", 3_000_000, 3e6, 300, 4e6),
    deployed("d", 4_000_000, 4e6, 400, None),
]


@pytest.mark.parametrize("module", [surprises, runner], ids=lambda module: module.__name__)
def test_the_examples_run(module: object) -> None:
    """Each example in a docstring gives what stands beside it."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_equal_values_share_their_rank() -> None:
    """Ties have the mean of their places; a row of equal values correlates with nothing."""
    assert ranks([5, 1, 5, 9]).tolist() == [2.5, 1, 2.5, 4]
    assert spearman([1, 2, 3], [4, 4, 4]) == 0
    assert spearman([1, 2, 3, 4], [8, 6, 5, 1]) == pytest.approx(-1)


def test_each_figure_has_its_correlation() -> None:
    """Bytes follow FLOPS, the measured latency does not; estimates stand for themselves, over those that have one."""
    found = {one.what: (round(one.spearman, 3), one.n) for one in correlations(RESULTS)}
    assert found == {
        "bytes of w8a8 tflite, measured": (1.0, 4),
        "p50 of w8a8 tflite, measured": (-0.2, 4),
        "p50 of w8a8 tflite, estimated for rpi4": (1.0, 3),
    }
    assert correlations(RESULTS[:2]) == []


def test_the_worst_surprise_comes_first() -> None:
    """The network with the fewest FLOPS and the longest latency leads, with what may explain it."""
    worst = surprises.surprises(RESULTS, 2)
    assert [one.name for one in worst] == ["a", "b"]
    assert worst[0].distance == 3
    assert worst[0].operators_per_million_macs == pytest.approx(40)
    assert summary_of(RESULTS)["surprises"][0]["distance"] == 3


def test_an_estimate_stands_in_for_a_latency_that_was_not_taken() -> None:
    """Without timing, the first estimate ranks the networks."""
    untimed = [deployed(one.name, 10 - place, None, 1, place + 1.0) for place, one in enumerate(RESULTS)]
    assert {one.p50_ns for one in surprises.surprises(untimed)} == {1.0, 2.0, 3.0, 4.0}
