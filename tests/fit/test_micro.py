"""The arena of TFLite Micro, with its own interpreter as the oracle."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.fit.micro import plan_micro
from edgecnn.formats import read_graph

tflite_builder = pytest.importorskip("tflite_builder", reason="needs ai_edge_litert's schema to build files")
Builder, schema = tflite_builder.Builder, tflite_builder.schema

IC = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"

# One process for all files: C code writes the figures to standard error, each after the name of its file.
ORACLE = """
import sys
from tflite_micro.python.tflite_micro import runtime
for path in sys.argv[1:]:
    print("FILE", path, file=sys.stderr, flush=True)
    runtime.Interpreter.from_bytes(open(path, "rb").read(), arena_size=8 << 20).print_allocations()
"""


def plain(b: Builder, x: int) -> list[int]:
    """Convolution, dense, softmax."""
    y = b.conv(x, 8)
    return [b.softmax(b.dense(b.reshape(y, (1, 16 * 16 * 8)), 10))]


def residual(b: Builder, x: int) -> list[int]:
    """Three residual blocks."""
    y = b.conv(x, 16)
    for _ in range(3):
        y = b.binary("ADD", y, b.conv(b.conv(y, 16), 16, activation=0))
    return [b.dense(b.mean(y), 10)]


def concat(b: Builder, x: int) -> list[int]:
    """Each block is joined to all before."""
    y = b.conv(x, 4)
    for _ in range(4):
        y = b.concat(y, b.conv(y, 8))
    return [b.dense(b.mean(y), 3)]


def depthwise(b: Builder, x: int) -> list[int]:
    """Depthwise-separable blocks."""
    y = b.conv(x, 8, stride=2)
    for stride in (1, 2, 1):
        y = b.conv(b.depthwise(b.conv(y, 24, 1), stride=stride), 8, 1, activation=0)
    return [b.dense(b.mean(y), 10)]


def pooling(b: Builder, x: int) -> list[int]:
    """Both poolings, and padding."""
    y = b.pool(b.conv(x, 12), kind="MAX_POOL_2D")
    y = b.pool(b.conv(b.pad(y), 20))
    return [b.dense(y, 10)]


def squeeze_excite(b: Builder, x: int) -> list[int]:
    """A gate that multiplies the channels, broadcast."""
    y = b.conv(x, 16)
    gate = b.unary("LOGISTIC", b.conv(b.unary("RELU6", b.conv(b.mean(y, keep_dims=True), 4, 1)), 16, 1, activation=0))
    if b.dtype == "int8":
        b.tensors[gate].quantization.scale, b.tensors[gate].quantization.zeroPoint = [1 / 256], [-128]
    return [b.unary("HARD_SWISH", b.binary("MUL", y, gate))]


def upsample(b: Builder, x: int) -> list[int]:
    """A transpose convolution."""
    y = b.transpose_conv(b.pool(b.conv(x, 8)), 4)
    return [b.concat(y, b.conv(x, 4))]


def two_outputs(b: Builder, x: int) -> list[int]:
    """Two outputs of different rank."""
    y = b.conv(x, 8)
    return [b.dense(b.mean(y), 5), b.unary("TANH", b.conv(y, 2, 1))]


def unused_tensor(b: Builder, x: int) -> list[int]:
    """A tensor that nothing makes."""
    b.tensor((1, 64, 64, 8))
    return [b.unary("RELU", x)]


def variable(b: Builder, x: int) -> list[int]:
    """A variable tensor, and an input used twice."""
    b.tensor((1, 31), variable=True)
    return [b.binary("SUB", b.unary("RELU", x), x)]


def reductions(b: Builder, x: int) -> list[int]:
    """Sum and maximum over the image."""
    axes = b.integers([1, 2])
    options = schema.ReducerOptionsT()
    y = b.operator("SUM", (b.conv(x, 4), axes), (1, 4), options, 2)
    return [y, b.operator("REDUCE_MAX", (x, axes), (1, 3), options, 2)]


def shapes(b: Builder, x: int) -> list[int]:
    """Mirror padding, strided slice, resize."""
    pads = b.integers([[0, 0], [1, 1], [1, 1], [0, 0]])
    y = b.operator("MIRROR_PAD", (x, pads), (1, 18, 18, 3), schema.MirrorPadOptionsT(), 2)
    begin, end, strides = b.integers([0, 0, 0, 0]), b.integers([1, 16, 16, 3]), b.integers([1, 2, 2, 1])
    z = b.operator("STRIDED_SLICE", (y, begin, end, strides), (1, 8, 8, 3), schema.StridedSliceOptionsT(), 2)
    size = b.integers([16, 16])
    return [b.operator("RESIZE_NEAREST_NEIGHBOR", (z, size), (1, 16, 16, 3), schema.ResizeNearestNeighborOptionsT(), 2)]


def split(b: Builder, x: int) -> list[int]:
    """Two outputs of one operator."""
    y = b.conv(x, 8)
    options = schema.SplitOptionsT()
    options.numSplits = 2
    left, right = b.operator_many("SPLIT", (b.integers(3), y), [(1, 16, 16, 4)] * 2, options, 2)
    return [b.binary("MUL", b.conv(left, 4), right)]


def matmul(b: Builder, x: int) -> list[int]:
    """A product of two activations."""
    y = b.conv(x, 16)
    options = schema.BatchMatMulOptionsT()
    options.adjY = True
    return [b.operator("BATCH_MATMUL", (y, y), (1, 16, 16, 16), options, 2)]


def activations(b: Builder, x: int) -> list[int]:
    """Activations with parameters of their own."""
    y = b.operator("LEAKY_RELU", (b.conv(x, 6),), (1, 16, 16, 6), schema.LeakyReluOptionsT())
    y = b.operator("PRELU", (b.unary("ELU", y), b.weights((1, 1, 6))), (1, 16, 16, 6))
    return [b.unary("ABS", y)]


NETWORKS: dict[str, Callable[[Builder, int], list[int]]] = {
    function.__name__: function
    for function in (
        plain,
        residual,
        concat,
        depthwise,
        pooling,
        squeeze_excite,
        upsample,
        two_outputs,
        unused_tensor,
        variable,
        reductions,
        shapes,
        split,
        matmul,
        activations,
    )
}


def build(network: Callable[[Builder, int], list[int]], dtype: str) -> bytes:
    """Return the file of one network."""
    b = Builder(dtype)
    x = b.tensor((1, 16, 16, 3))
    return b.file([x], network(b, x))


def random_network(seed: int) -> Callable[[Builder, int], list[int]]:
    """Return a network that joins, branches and leaves results unread at random, the same for one seed."""

    def network(b: Builder, x: int) -> list[int]:
        choose = random.Random(seed)
        made = [b.conv(x, 4)]
        for _ in range(choose.randint(5, 25)):
            y, other = choose.choice(made), choose.choice(made)
            same = b.shapes[y] == b.shapes[other]
            step = choose.choice(["conv", "depthwise", "join", "relu", "pool"])
            if step == "conv":
                made.append(b.conv(y, choose.choice([1, 3, 8, 17]), choose.choice([1, 3])))
            elif step == "depthwise":
                made.append(b.depthwise(y))
            elif step == "join" and b.shapes[y][1] == b.shapes[other][1]:
                made.append(b.binary("ADD", y, other) if same else b.concat(y, other))
            elif step == "pool" and b.shapes[y][1] > 2:
                made.append(b.pool(y))
            else:
                made.append(b.unary("RELU", y))
        return sorted({made[-1], choose.choice(made)})

    return network


NETWORKS.update({f"random{seed}": random_network(seed) for seed in range(12)})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, int]]:
    """Name → (file, head, tail) as TFLite Micro's interpreter reports them."""
    if importlib.util.find_spec("tflite_micro") is None:
        pytest.skip("tflite-micro is not installed: pip install 'edgecnn[mcu]'")
    folder = tmp_path_factory.mktemp("micro")
    files = {}
    for name, network in NETWORKS.items():
        for dtype in ("int8", "float32"):
            files[f"{name}.{dtype}"] = folder / f"{name}.{dtype}.tflite"
            files[f"{name}.{dtype}"].write_bytes(build(network, dtype))
    if IC.is_file():
        files["mlperf-tiny-ic-int8"] = IC
    command = [sys.executable, "-c", ORACLE, *map(str, files.values())]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr[-1000:]
    sections = shown.stderr.split("FILE ")[1:]
    sizes = [
        (int(re.search(r"head (\d+) bytes", text)[1]), int(re.search(r"tail (\d+) bytes", text)[1]))
        for text in sections
    ]
    return {name: (file, *size) for (name, file), size in zip(files.items(), sizes, strict=True)}


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_head_is_exactly_tflite_micros(measured: dict[str, tuple[Path, int, int]], name: str, dtype: str) -> None:
    """The planned head equals the interpreter's to the byte, and the total is within 5 % (64-bit host)."""
    file, head, tail = measured[f"{name}.{dtype}"]
    arena = plan_micro(read_graph(file), pointer_bytes=8)
    assert arena.head_bytes == head
    assert arena.total_bytes == pytest.approx(head + tail, rel=0.05)
    assert arena.tail_bytes == pytest.approx(tail, rel=0.05)


def test_the_published_network(measured: dict[str, tuple[Path, int, int]]) -> None:
    """MLPerf Tiny's image classifier takes 49152 + 6832 B on a 64-bit host, and less tail on a microcontroller."""
    if "mlperf-tiny-ic-int8" not in measured:
        pytest.skip(f"no {IC.name} beside the checkout")
    file, head, tail = measured["mlperf-tiny-ic-int8"]
    host, board = (plan_micro(read_graph(file), pointer_bytes=size) for size in (8, 4))
    assert (host.head_bytes, host.tail_bytes) == (head, tail) == (49152, 6832)
    assert board.head_bytes == head
    assert 0.5 * tail < board.tail_bytes < 0.8 * tail
