"""What a network that does not fit is told: nothing that would not help."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device import DeviceProfile, MemoryRegion
from edgecnn.fit import check_fit
from edgecnn.formats import Graph, Operator, QuantParams, Tensor

SIDE = 32
QUANT = QuantParams((0.1,), (0,))


def network(side: int = SIDE, *, float_ends: bool = False, weights_bytes: int = 1152, names: str = "") -> Graph:
    """Return an int8 network: a convolution that halves the side, and a pooling of it all."""
    half = side // 2
    tensors = [
        Tensor("image", (1, side, side, 8), "int8", QUANT, size_bytes=side * side * 8),
        Tensor("weights", (16, 3, 3, 8), "int8", QUANT, constant=True, size_bytes=weights_bytes),
        Tensor("features" + names, (1, half, half, 16), "int8", QUANT, size_bytes=half * half * 16),
        Tensor("axes", (2,), "int32", constant=True, size_bytes=8),
        Tensor("answer", (1, 16), "int8", QUANT, size_bytes=16),
    ]
    operators = [Operator("CONV_2D", (0, 1), (2,)), Operator("MEAN", (2, 3), (4,))]
    inputs = (0,)
    if float_ends:
        tensors.append(Tensor("real", (1, side, side, 8), "float32", size_bytes=side * side * 32))
        operators.insert(0, Operator("QUANTIZE", (5,), (0,)))
        inputs = (5,)
    size_bytes = weights_bytes + 1000 + len(names)
    return Graph("tflite", tuple(tensors), tuple(operators), inputs, (4,), size_bytes)


@settings(deadline=None, max_examples=60)
@given(st.integers(500, 13_000), st.booleans())
def test_an_advised_input_fits(ram_bytes: int, float_ends: bool) -> None:
    """Whatever is lacking, the network with the advised input, and int8 ends where they are advised, fits."""
    report = check_fit(network(float_ends=float_ends), ram_bytes=ram_bytes)
    for step in report.next_steps:
        found = re.search(r"an input of (\d+)x(\d+) instead of 32x32", step)
        if found:
            still_float = float_ends and not step.startswith("then ")
            assert int(found[1]) % 2 == 0
            assert check_fit(network(int(found[1]), float_ends=still_float), ram_bytes=ram_bytes).fits


def test_what_is_fixed_is_said() -> None:
    """Where what stays is more than the limit, no input is advised, and what stays is told."""
    advice = check_fit(network(), ram_bytes=500).next_steps
    assert any("a smaller input is not enough" in step for step in advice)
    assert not any("an input of" in step for step in advice)


def test_int8_ends_are_advised_with_what_they_take() -> None:
    """Where a float input is the peak, int8 ends are advised first, with the use of the file that has them."""
    ram = check_fit(network(), ram_bytes=100_000).regions[0].used_bytes
    report = check_fit(network(float_ends=True), ram_bytes=20_000)
    assert not report.fits
    assert "--recipe mcu" in report.next_steps[1]
    assert f"{ram / 1024:.1f} KiB of ram, which fits" in report.next_steps[1]


def test_a_use_just_below_the_limit_is_not_called_sure() -> None:
    """What would fit by less than the margin is said to be close, and a smaller input is advised with it."""
    used = check_fit(network(), ram_bytes=100_000).regions[0].used_bytes
    steps = check_fit(network(float_ends=True), ram_bytes=used + 1).next_steps
    assert steps[1].endswith("too close to be sure")
    assert steps[2].startswith("then an input of")


def test_what_hardly_saves_is_not_advised() -> None:
    """Int8 ends that save little of what is lacking are left out."""
    graph = network(float_ends=True)
    tiny = replace(graph, tensors=(*graph.tensors[:5], replace(graph.tensors[5], size_bytes=8)))
    assert not any("--recipe mcu" in step for step in check_fit(tiny, ram_bytes=5000).next_steps)


def test_float_ends_are_told_where_they_fit() -> None:
    """A microcontroller's report of a file with float ends says what int8 ones would take."""
    assert any("--recipe mcu" in note for note in check_fit(network(float_ends=True), ram_bytes=100_000).notes)
    assert not any("--recipe mcu" in note for note in check_fit(network(), ram_bytes=100_000).notes)


def test_pruning_is_advised_only_where_it_can_be_enough() -> None:
    """The part of the weights that must go is told; where all of them are too little, what the file else holds is."""
    heavy = check_fit(network(weights_bytes=100_000), flash_bytes=80_000).next_steps
    assert [step for step in heavy if step.startswith("prune at least 37 % of the 97.7 KiB")] != []
    most = check_fit(network(weights_bytes=100_000), flash_bytes=20_000).next_steps
    assert any("pruning alone is not enough: it would have to remove 97 % of the 97.7 KiB" in step for step in most)
    light = check_fit(network(names="n" * 5000), flash_bytes=20_000).next_steps
    told = next(step for step in light if "pruning is not enough" in step)
    assert "16.0 KiB TFLite Micro, 4.9 KiB names of tensors" in told
    assert not any(step.startswith("prune") for step in light if step is not told)


def test_weights_are_in_flash_on_a_microcontroller() -> None:
    """A microcontroller that lacks RAM is not told to prune; a device with an operating system is."""
    graph = network(weights_bytes=50_000_000)
    assert not any("prun" in step for step in check_fit(graph, ram_bytes=5000).next_steps)
    linux = DeviceProfile(
        name="pi", title="Pi", kind="linux", arch="aarch64", sources={}, memory=(MemoryRegion("ram", 80_000_000, 0),)
    )
    assert any(step.startswith("prune at least") for step in check_fit(graph, linux).next_steps)


def test_nothing_is_advised_where_all_fits() -> None:
    """A network that fits gets no advice, even without headroom."""
    used = check_fit(network(), ram_bytes=100_000).regions[0].used_bytes
    assert check_fit(network(), ram_bytes=used).next_steps == ()
    lacking = check_fit(replace(network(), size_bytes=1), ram_bytes=used - 1)
    assert lacking.next_steps[0] == "ram lacks 1 B"


def test_a_huge_input_is_advised_upon_as_quickly_as_a_small_one() -> None:
    """The input that would fit is found without a list of all heights: one of 100 million rows takes no memory."""
    image = Tensor("image", (1, 100_000_000, 4, 1), "int8", QUANT, size_bytes=400_000_000)
    graph = Graph("tflite", (image, replace(image, name="y")), (Operator("RELU", (0,), (1,)),), (0,), (1,), 1000)
    tracemalloc.start()
    report = check_fit(graph, ram_bytes=300_000_000, kind="mcu")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
    (height,) = (int(found[1]) for step in report.next_steps if (found := re.search(r"an input of (\d+)x", step)))
    assert 72_000_000 < height < 73_000_000  # two images of height x 2 below 97 % of the limit


def padded(*, odd: bool = False) -> Graph:
    """Return `network` with a PAD before its convolution, as stride 2 on an even side makes one; *odd*: without it."""
    graph = network()
    if odd:
        return graph
    image = replace(graph.tensors[0], name="padded", shape=(1, SIDE + 2, SIDE + 2, 8), size_bytes=(SIDE + 2) ** 2 * 8)
    pads = Tensor("pads", (4, 2), "int32", constant=True, size_bytes=32)
    count = len(graph.tensors)
    conv = replace(graph.operators[0], inputs=(count, 1))
    pad = Operator("PAD", (0, count + 1), (count,))
    operators = (pad, conv, *graph.operators[1:])
    return replace(graph, tensors=(*graph.tensors, image, pads), operators=operators)


def test_the_copy_that_makes_the_peak_is_named() -> None:
    """What the network would take without its PAD is what the network without it takes, and its origin is told."""
    report = check_fit(padded(), ram_bytes=16_000)
    assert report.peak is not None
    assert report.peak.operator.startswith("PAD")
    (step,) = (step for step in report.next_steps if step.startswith("PAD makes a copy at the peak"))
    without = check_fit(padded(odd=True), ram_bytes=16_000).regions[0].used_bytes
    assert f"about {without / 1024:.1f} KiB of ram, which fits; a convolution with padding and stride 2" in step
    assert not any("copy" in step for step in check_fit(padded(odd=True), ram_bytes=1000).next_steps)


def test_a_padding_that_others_read_is_no_advice() -> None:
    """A PAD of channels, whose sum is read, cannot become part of a convolution."""
    graph = padded()
    add = Operator("ADD", (5, 5), (2,))
    summed = replace(graph, operators=(graph.operators[0], add, *graph.operators[2:]))
    assert not any("copy" in step for step in check_fit(summed, ram_bytes=16_000).next_steps)


def test_the_command_that_makes_it_fit_is_whole() -> None:
    """The goals are the limits as they were given, the data those of the calibration where they have a name."""
    told = replace(network(), metadata={"edgecnn": b'{"calibration": "digits"}'})
    line = "make it smaller: edgecnn compress MODEL --data digits --ram 12KiB --flash 100001B -o small.safetensors"
    assert check_fit(told, ram_bytes=12 * 1024, flash_bytes=100_001).next_steps[-1] == line
    for metadata in (b'{"calibration": "mine; rm -r"}', b"[]", b"{", b'{"calibration": 3}'):
        other = replace(network(), metadata={"edgecnn": metadata})
        assert "--data DATA --ram 12KiB -o" in check_fit(other, ram_bytes=12 * 1024).next_steps[-1]
    device = check_fit(network(weights_bytes=2 * 2**20), "stm32h7a3", flash_bytes=2**20).next_steps[-1]
    assert "compress MODEL --data DATA --fit stm32h7a3 --flash 1MiB -o" in device


def test_no_pruning_is_advised_where_it_cannot_fit() -> None:
    """Where the interpreter, the input or what is no weight is more than the limit, the command is left out."""
    for limits in ({"ram_bytes": 8000}, {"flash_bytes": 10_000}):
        assert not any("edgecnn compress" in step for step in check_fit(network(), **limits).next_steps)  # type: ignore[arg-type]
