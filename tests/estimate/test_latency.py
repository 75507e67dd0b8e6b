"""Estimates of latency: what goes up with what, and how far they reach."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device import COARSER_KINDS, LATENCY_KINDS, Core, DeviceProfile, LatencyModel, OperatorCost, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import NoCoefficientsError, estimate_latency
from edgecnn.estimate.fitting import amounts_of, as_array
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.formats import Graph, Operator, Tensor, read_graph

DATA = Path(__file__).parents[1] / "data"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MICROCONTROLLERS = ("stm32h7a3", "stm32f746", "stm32l4r5", "stm32u575", "nrf5340", "ra8d1")
COST = OperatorCost(ns_per_mac=0.1, ns_per_byte=0.5, ns_per_operator=1000)


def board(*, precision: str = "fp32", threads: int = 1) -> DeviceProfile:
    """Return a board of which nothing but its latency coefficients is known."""
    costs = dict.fromkeys(LATENCY_KINDS, COST)
    model = LatencyModel("litert", precision, threads, costs, 0.8, 1.25, 0.9, 30, "made up")
    return DeviceProfile("board", "Board", "linux", "aarch64", {}, latency=(model,))


def micro(*runtimes: str) -> DeviceProfile:
    """Return a microcontroller at 200 MHz with int8 coefficients of *runtimes*."""
    costs = dict.fromkeys(("conv", "pointwise", "depthwise", "linear", "other"), OperatorCost(ns_per_mac=10))
    models = tuple(LatencyModel(name, "w8a8", 1, costs, 0.5, 2, 0.9, 4, "made up") for name in runtimes)
    return DeviceProfile("chip", "Chip", "mcu", "cortex-m7", {}, cores=(Core("Cortex-M7", 1, 200),), latency=models)


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
    with pytest.raises(NoCoefficientsError, match=r"tflite-micro, fp32.*known: none.*int8 networks alone"):
        estimate_latency(convolution(8, 8, 8), micro())


def test_no_threads_named_takes_the_most_that_are_known() -> None:
    """Where the number of threads is left open, it is the largest with coefficients."""
    assert estimate_latency(convolution(8, 8, 8), board(threads=4), None).threads == 4


def test_a_microcontroller_is_estimated_in_cycles() -> None:
    """Of the known runtimes the nearest to TFLite Micro is taken; whose kernels and how many cycles is said."""
    integers = convolution(8, 8, 8, dtype="int8")
    estimate = estimate_latency(integers, micro("stm32-cube-ai", "microtvm-cmsis-nn"), None)
    assert (estimate.runtime, estimate.threads) == ("microtvm-cmsis-nn", 1)
    assert estimate.p50_ns == pytest.approx(10 * 8 * 8 * 9 * 8 * 8)
    notes = " ".join(estimate.notes)
    assert "those of microtvm-cmsis-nn, not of the TFLite Micro" in notes
    assert "at 200 MHz" in notes
    assert "depthwise 2.0" in notes
    own = estimate_latency(integers, micro("tflite-micro", "plumerai"), None)
    assert own.runtime == "tflite-micro"
    assert "kernels" not in " ".join(own.notes)


def published_figures(*devices: str) -> list[tuple[str, str, str, str, int, float]]:
    """Return (device, network, runtime, precision, threads, latency in ns) published for *devices*."""
    with (BENCHMARKS / "tables/published_latency.csv").open(encoding="utf-8", newline="") as file:
        return [
            (
                *(row["device"], row["network"], row["runtime"], row["precision"]),
                *(int(row["threads"]), float(row["latency_ms"]) * 1e6),
            )
            for row in csv.DictReader(file)
            if row["device"] in devices
        ]


@pytest.mark.parametrize(
    ("device", "network", "runtime", "precision", "threads", "published_ns"),
    published_figures("rpi4", *MICROCONTROLLERS),
)
def test_published_figures_lie_in_their_bands(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    network: str,
    runtime: str,
    precision: str,
    threads: int,
    published_ns: float,
) -> None:
    """Each figure published for the Pi 4 (in 64 bits) and for microcontrollers lies in its band.

    With four threads on the Pi 4 the band is no wider than 40 % each way.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    model = next(
        model
        for model in load_device(device).latency
        if (model.runtime, model.precision, model.threads) == (runtime, precision, threads)
    )
    amounts = amounts_of(works_of(network), precision, Blocks(model.input_block, model.output_block))
    estimate_ns = float(as_array(model.costs) @ amounts)
    assert model.low * estimate_ns <= published_ns <= model.high * estimate_ns
    if threads == 4:
        assert 0.6 <= model.low <= 1 <= model.high <= 1.4


def test_bands_of_microcontrollers_hold_what_was_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least nine in ten of MLPerf Tiny's figures, foretold from the other networks alone, lie in their bands."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from fit_published import read_rows

    held = []
    for row in read_rows():
        if row.device in MICROCONTROLLERS:
            (model,) = (model for model in load_device(row.device).latency if model.runtime == row.runtime)
            held += [model.low <= ratio <= model.high for ratio in row.ratios]
    assert len(held) == 43
    assert sum(held) >= 0.9 * len(held)


def test_the_reference_network_is_the_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLPerf Tiny's image classifier as it is written down does what the published file does, operator by operator."""
    path = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"
    if not path.is_file():
        pytest.skip("the published file is not beside the checkout")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    found = sorted((COARSER_KINDS[work.kind], work.macs) for _, work in graph_works(read_graph(path)))
    assert found == sorted((work.kind, work.macs) for work in works_of("tiny_ic"))


def test_the_reference_networks_have_their_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks behind the published figures have the multiply-adds that their papers give, within 3 %."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    published = {"mobilenet": 569e6, "resnet18": 1.82e9, "shufflenet": 140e6, "alexnet": 724e6, "mobilenet_v2": 300e6}
    published |= {"mobilenet_v3_large": 219e6, "mobilenet_v3_small": 56e6}
    published |= {"tiny_ic": 12.5e6, "tiny_vww": 7.49e6, "tiny_kws": 2.66e6, "tiny_ad": 0.264e6}
    for network, macs in published.items():
        assert sum(work.macs for work in works_of(network)) == pytest.approx(macs, rel=0.03)
