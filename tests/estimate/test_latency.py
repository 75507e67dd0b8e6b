"""Estimates of latency: what goes up with what, and how far they reach."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device import (
    COARSER_KINDS,
    LATENCY_KINDS,
    Core,
    DeviceProfile,
    LatencyModel,
    OperatorCost,
    device_names,
    load_device,
)
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import NoCoefficientsError, estimate_latency
from edgecnn.estimate.fitting import amounts_of, as_array
from edgecnn.estimate.latency import find_model
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.formats import Graph, Operator, Tensor, read_graph

DATA = Path(__file__).parents[1] / "data"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: What benchmarks/fit_published.py found when it left out networks and sources.
TESTED = json.loads((BENCHMARKS / "tables/estimates/published.json").read_text(encoding="utf-8"))
COST = OperatorCost(ns_per_mac=0.1, ns_per_byte=0.5, ns_per_operator=1000)


def board(*, precision: str = "fp32", threads: int = 1) -> DeviceProfile:
    """Return a board of which nothing but its latency coefficients is known."""
    costs = dict.fromkeys(LATENCY_KINDS, COST)
    model = LatencyModel(
        runtime="litert",
        precision=precision,
        threads=threads,
        costs=costs,
        low=0.8,
        high=1.25,
        coverage=0.9,
        networks=30,
        source="made up",
    )
    return DeviceProfile(name="board", title="Board", kind="linux", arch="aarch64", sources={}, latency=(model,))


def micro(*runtimes: str) -> DeviceProfile:
    """Return a microcontroller at 200 MHz with int8 coefficients of *runtimes*."""
    costs = dict.fromkeys(("conv", "pointwise", "depthwise", "linear", "other"), OperatorCost(ns_per_mac=10))
    models = tuple(
        LatencyModel(
            runtime=name,
            precision="w8a8",
            threads=1,
            costs=costs,
            low=0.5,
            high=2,
            coverage=0.9,
            networks=4,
            source="made up",
        )
        for name in runtimes
    )
    return DeviceProfile(
        name="chip",
        title="Chip",
        kind="mcu",
        arch="cortex-m7",
        sources={},
        cores=(Core("Cortex-M7", 1, 200),),
        latency=models,
    )


def convolution(side: int, inputs: int, outputs: int, kernel: int = 3, dtype: str = "float32") -> Graph:
    """Return a network of one convolution."""
    shapes = ((1, side, side, inputs), (outputs, kernel, kernel, inputs), (1, side, side, outputs))
    tensors = tuple(Tensor(f"t{i}", shape, dtype, constant=i == 1) for i, shape in enumerate(shapes))
    operator = Operator("CONV_2D", (0, 1), (2,), macs=side**2 * kernel**2 * inputs * outputs)
    return Graph("tflite", tensors, (operator,), (0,), (2,), 0)


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
@settings(max_examples=50, deadline=None)
def test_more_work_takes_longer(side: int, inputs: int, outputs: int, more: int) -> None:
    """A convolution over more pixels or channels is never predicted to be faster, and the band holds the estimate."""
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
        estimate_latency(convolution(8, 8, 8), board(), threads=4)
    said = str(caught.value)
    assert "litert, fp32, 4 threads" in said
    assert "known: litert fp32 at 1 thread" in said
    assert "edgecnn devices calibrate board --target" in said
    assert "\n" not in said
    with pytest.raises(NoCoefficientsError, match=r"tflite-micro, fp32.*known: none.*only int8 networks"):
        estimate_latency(convolution(8, 8, 8), micro())


def test_no_threads_named_takes_the_most_that_are_known() -> None:
    """Where the number of threads is left open, it is the largest with coefficients."""
    assert estimate_latency(convolution(8, 8, 8), board(threads=4), threads=None).threads == 4


def test_a_microcontroller_is_estimated_in_cycles() -> None:
    """Of the known runtimes the nearest to TFLite Micro is taken; whose kernels and how many cycles is said."""
    integers = convolution(8, 8, 8, dtype="int8")
    estimate = estimate_latency(integers, micro("stm32-cube-ai", "microtvm-cmsis-nn"), threads=None)
    assert (estimate.runtime, estimate.threads) == ("microtvm-cmsis-nn", 1)
    assert estimate.p50_ns == pytest.approx(10 * 8 * 8 * 9 * 8 * 8)
    notes = " ".join(estimate.notes)
    assert "those of microtvm-cmsis-nn; those of today's TFLite Micro" in notes
    assert "at 200 MHz" in notes
    assert "depthwise 2.0" in notes
    own = estimate_latency(integers, micro("tflite-micro", "plumerai"), threads=None)
    assert own.runtime == "tflite-micro"
    assert "kernels" not in " ".join(own.notes)


def published_models() -> list[tuple[str, LatencyModel]]:
    """Return (device, coefficients) of all that rests on published figures."""
    devices = sorted({row["device"] for row in TESTED if row["device"] != "all"} & set(device_names()))
    models = [(device, model) for device in devices for model in load_device(device).latency]
    return [(device, model) for device, model in models if "fit_published" in model.source]


@pytest.mark.parametrize("group", ["boards", "microcontrollers"])
@pytest.mark.parametrize("left_out", ["network", "source"])
def test_what_was_left_out_lies_in_its_band(group: str, left_out: str) -> None:
    """Nine in ten figures of whole networks and whole sources left out lie in their bands, and the level is right."""
    (row,) = (row for row in TESTED if (row["group"], row["left_out"], row["device"]) == (group, left_out, "all"))
    assert row["inside"] >= 0.9
    assert 0.95 <= row["median_ratio"] <= 1.05


def test_every_device_has_been_tested() -> None:
    """All coefficients that rest on published figures are among those that networks were held out of."""
    tested = {(row["device"], row["runtime"], row["precision"], row["threads"]) for row in TESTED}
    models = published_models()
    assert len(models) > 30
    for device, model in models:
        assert (device, model.runtime, model.precision, str(model.threads)) in tested


def test_published_figures_lie_in_their_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least nine in ten figures that the coefficients were fitted to lie in the bands in the device files."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from reference_networks import works_of

    with (BENCHMARKS / "tables/published_latency.csv").open(encoding="utf-8", newline="") as file:
        figures = list(csv.DictReader(file))
    inside = []
    for device, model in published_models():
        blocks = Blocks(model.input_block, model.output_block, model.winograd)
        for figure in figures:
            own = (figure["device"], figure["runtime"], figure["precision"], int(figure["threads"]))
            if own == (device, model.runtime, model.precision, model.threads) and model.cores in (
                None,
                figure["cores"],
            ):
                amounts = amounts_of(works_of(figure["network"]), model.precision, blocks)
                ratio = float(figure["latency_ms"]) * 1e6 / float(as_array(model.costs) @ amounts)
                inside.append(model.low <= ratio <= model.high)
    assert len(inside) > 200
    assert sum(inside) >= 0.9 * len(inside)


def test_the_first_kind_of_cores_runs_the_threads() -> None:
    """Four threads on an Orange Pi 5 run on its A76 cores, which is said; on the A55 they take longer."""
    device = load_device("orangepi5")
    model = find_model(device, "ncnn", "fp32", 4)
    others = [own for own in device.latency if (own.runtime, own.precision, own.threads) == ("ncnn", "fp32", 4)]
    assert [own.cores for own in (model, *others)].count("Cortex-A76") == 2
    slower = next(own for own in others if own.cores == "Cortex-A55")
    assert slower.costs["conv"].ns_per_mac > 1.5 * model.costs["conv"].ns_per_mac
    estimate = estimate_latency(DATA / "classifier.tflite", device, threads=4, runtime="ncnn")
    assert "the threads run on the Cortex-A76 cores" in estimate.notes


def test_winograd_takes_fewer_multiply_adds() -> None:
    """A 3x3 convolution with stride 1 and channels enough costs its share where kernels say so, others all."""
    (fast,), (small,), (one,) = (
        [work for _, work in graph_works(graph)]
        for graph in (convolution(8, 16, 16), convolution(8, 8, 16), convolution(8, 16, 16, kernel=1))
    )
    assert (fast.winograd, small.winograd, one.winograd) == (True, False, False)
    assert fast.padded_macs(Blocks(winograd=0.4)) == pytest.approx(0.4 * fast.macs)
    assert one.padded_macs(Blocks(winograd=0.4)) == one.macs


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
    published |= {"mobilenet_v3_large": 219e6, "mobilenet_v3_small": 56e6, "shufflenet_v2": 146e6}
    published |= {"efficientnet_b0": 0.39e9, "regnety_400m": 0.4e9, "vgg16": 15.5e9, "resnet50": 3.8e9}
    published |= {"tiny_ic": 12.5e6, "tiny_vww": 7.49e6, "tiny_kws": 2.66e6, "tiny_ad": 0.264e6}
    for network, macs in published.items():
        assert sum(work.macs for work in works_of(network)) == pytest.approx(macs, rel=0.03)
