"""The RAM of a process, against one that really runs LiteRT."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.device import DeviceProfile, MemoryRegion, RuntimeCost
from edgecnn.fit import check_fit

tflite_builder = pytest.importorskip("tflite_builder", reason="needs ai_edge_litert's schema to build files")

RUN = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter
def peak_bytes():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
base = peak_bytes()
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.invoke()
print(base, peak_bytes())
"""


def convolutions(channels: int, layers: int, side: int) -> bytes:
    """Return a file of equal 3x3 convolutions."""
    b = tflite_builder.Builder("float32")
    x = b.tensor((1, side, side, 3))
    y = b.conv(x, channels)
    for _ in range(layers):
        y = b.conv(y, channels)
    return b.file([x], [y])


def weights_only(content: bytes, bits: int) -> bytes:
    """Return the file with weights of so many bits, unpacked to float before they are used."""
    quantizers = pytest.importorskip("ai_edge_quantizer.quantizer")
    recipes = pytest.importorskip("ai_edge_quantizer.recipe")
    recipe = {4: recipes.weight_only_wi4_afp32, 8: recipes.weight_only_wi8_afp32}[bits]()
    return bytes(quantizers.Quantizer(content, recipe).quantize().quantized_model)


def check_peak(file: Path) -> None:
    """See that the estimate is within 10 % of the peak resident memory."""
    command = [sys.executable, "-c", RUN, str(file)]
    base, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    device = DeviceProfile(
        name="host",
        title="host",
        kind="linux",
        arch="x",
        sources={},
        memory=(MemoryRegion("ram", 2**34),),
        runtimes={"litert": RuntimeCost(ram_bytes=base)},
    )
    assert check_fit(file, device).regions[0].used_bytes == pytest.approx(peak, rel=0.10)


pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="VmHWM is read from Linux's /proc"),
    pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="ai_edge_litert is not installed"),
]


@pytest.mark.parametrize(("channels", "layers", "side"), [(16, 3, 32), (256, 8, 16), (32, 4, 256)])
def test_within_a_tenth_of_the_peak(tmp_path: Path, channels: int, layers: int, side: int) -> None:
    """For small networks, heavy weights, heavy activations."""
    file = tmp_path / "net.tflite"
    file.write_bytes(convolutions(channels, layers, side))
    check_peak(file)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_that_are_unpacked_count_as_floats(tmp_path: Path, bits: int) -> None:
    """A file that others quantized by its weights alone is small on disk and large in memory."""
    file = tmp_path / "net.tflite"
    file.write_bytes(weights_only(convolutions(256, 16, 16), bits))
    check_peak(file)
