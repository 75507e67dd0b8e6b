"""Estimates of latency: what goes up with what, and how far they reach."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device import LATENCY_KINDS, DeviceProfile, LatencyModel, OperatorCost, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import estimate_latency
from edgecnn.estimate.fitting import amounts_of, as_array
from edgecnn.estimate.work import Blocks, Work
from edgecnn.formats import Graph, Operator, Tensor

DATA = Path(__file__).parents[1] / "data"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COST = OperatorCost(ns_per_mac=0.1, ns_per_byte=0.5, ns_per_operator=1000)


def board(*, precision: str = "fp32", threads: int = 1) -> DeviceProfile:
    """Return a board of which nothing but its latency coefficients is known."""
    costs = dict.fromkeys(LATENCY_KINDS, COST)
    model = LatencyModel("litert", precision, threads, costs, 0.8, 1.25, 0.9, 30, "made up")
    return DeviceProfile("board", "Board", "linux", "aarch64", {}, latency=(model,))


def convolution(side: int, inputs: int, outputs: int, kernel: int = 3, dtype: str = "float32") -> Graph:
    """Return a network of one convolution."""
    shapes = ((1, side, side, inputs), (outputs, kernel, kernel, inputs), (1, side, side, outputs))
    tensors = tuple(Tensor(f"t{i}", shape, dtype, constant=i == 1) for i, shape in enumerate(shapes))
    operator = Operator("CONV_2D", (0, 1), (2,), macs=side**2 * kernel**2 * inputs * outputs)
    return Graph("tflite", tensors, (operator,), (0,), (2,), 0)


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
@settings(max_examples=50, deadline=None)
def test_more_work_takes_longer(side: int, inputs: int, outputs: int, more: int) -> None:
    """A convolution over more pixels or channels is never foretold to be faster, and the band holds the estimate."""
    least = estimate_latency(convolution(side, inputs, outputs), board())
    assert 0 < least.low_ns <= least.p50_ns <= least.high_ns
    for grown in (
        convolution(side + more, inputs, outputs),
        convolution(side, inputs + more, outputs),
        convolution(side, inputs, outputs + more),
    ):
        assert estimate_latency(grown, board()).p50_ns > least.p50_ns


def test_channels_are_rounded_to_what_kernels_compute() -> None:
    """Nine output channels cost the multiply-adds of sixteen."""
    nine, sixteen = (estimate_latency(convolution(8, 4, channels), board()) for channels in (9, 16))
    moved_bytes = 4 * 7 * (8 * 8 + 9 * 4)
    assert sixteen.p50_ns - nine.p50_ns == pytest.approx(0.5 * moved_bytes)


def test_channels_are_rounded_on_both_sides() -> None:
    """Of 9 x 9 channels a kernel of 4 x 16 computes 12 x 16; a depthwise one has no input channels to round."""
    assert Work("conv", 81, 9, 9).padded_macs(Blocks(4, 16)) == pytest.approx(12 * 16)
    assert Work("depthwise", 9, 1, 9).padded_macs(Blocks(4, 16)) == pytest.approx(16)


def test_the_parts_are_the_whole() -> None:
    """The shares of the kinds of operators add up to the estimate."""
    estimate = estimate_latency(DATA / "classifier.tflite", board(precision="fp32"))
    assert sum(estimate.parts_ns.values()) == pytest.approx(estimate.p50_ns)
    assert tuple(estimate.parts_ns) == LATENCY_KINDS
    assert estimate.method == "estimated"
    assert estimate.rests_on == ("made up",)


def test_integers_need_coefficients_of_integers() -> None:
    """An int8 network is not estimated with the coefficients of float kernels."""
    integers = convolution(8, 8, 8, dtype="int8")
    assert estimate_latency(integers, board(precision="w8a8")).p50_ns > 0
    with pytest.raises(EdgecnnError, match="no latency coefficients for litert, w8a8"):
        estimate_latency(integers, board())


def test_without_coefficients_it_says_what_to_do() -> None:
    """One line names what is missing, what is known and the command that measures it."""
    with pytest.raises(EdgecnnError) as caught:
        estimate_latency(convolution(8, 8, 8), board(), 4)
    said = str(caught.value)
    assert "litert, fp32, 4 threads" in said
    assert "known: litert fp32 at 1 thread" in said
    assert "edgecnn devices calibrate board --target" in said
    assert "\n" not in said
    with pytest.raises(EdgecnnError, match="microcontrollers"):
        estimate_latency(convolution(8, 8, 8), "stm32h7a3")


def test_no_threads_named_takes_the_most_that_are_known() -> None:
    """Where the number of threads is left open, it is the largest with coefficients."""
    assert estimate_latency(convolution(8, 8, 8), board(threads=4), None).threads == 4


def published_figures() -> list[tuple[str, str, str, int, float]]:
    """Return (network, runtime, precision, threads, latency in ns) published for the Raspberry Pi 4 in 64 bits."""
    with (BENCHMARKS / "tables/published_latency.csv").open(encoding="utf-8", newline="") as file:
        return [
            (row["network"], row["runtime"], row["precision"], int(row["threads"]), float(row["latency_ms"]) * 1e6)
            for row in csv.DictReader(file)
            if row["device"] == "rpi4"
        ]


@pytest.mark.parametrize(("network", "runtime", "precision", "threads", "published_ns"), published_figures())
def test_published_figures_of_the_pi_4(
    monkeypatch: pytest.MonkeyPatch, network: str, runtime: str, precision: str, threads: int, published_ns: float
) -> None:
    """Each figure published for the Pi 4 lies in its band, which with four threads is no wider than 40 % each way."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    model = next(
        model
        for model in load_device("rpi4").latency
        if (model.runtime, model.precision, model.threads) == (runtime, precision, threads)
    )
    amounts = amounts_of(works_of(network), precision, Blocks(model.input_block, model.output_block))
    estimate_ns = float(as_array(model.costs) @ amounts)
    assert model.low * estimate_ns <= published_ns <= model.high * estimate_ns
    if threads == 4:
        assert 0.6 <= model.low <= 1 <= model.high <= 1.4


def test_the_reference_networks_have_their_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks behind the published figures have the multiply-adds that their papers give, within 3 %."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    published = {"mobilenet": 569e6, "resnet18": 1.82e9, "shufflenet": 140e6, "alexnet": 724e6, "mobilenet_v2": 300e6}
    published |= {"mobilenet_v3_large": 219e6, "mobilenet_v3_small": 56e6}
    for network, macs in published.items():
        assert sum(work.macs for work in works_of(network)) == pytest.approx(macs, rel=0.03)
