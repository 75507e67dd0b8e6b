"""Where a quantized file loses what it loses: its tensors beside those of the float file, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.errors import require
from edgecnn.evaluate.inputs import plan_for
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.fit.advice import short_name
from edgecnn.formats import Graph, QuantParams
from edgecnn.normalization import Normalization
from edgecnn.runtimes.litert import every_tensor
from edgecnn.samples import Samples

Array = npt.NDArray[Any]

#: What stands between float and integers, and computes nothing.
_CONVERSIONS = frozenset(["QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"])
_MOST_DB = 100.0  # of tensors that are the same


@dataclass(frozen=True)
class LayerNoise:
    """One operator of a quantized file: the SQNR of what it reads and of what it makes, against the float file's."""

    kind: str
    name: str  # of its output in the float file
    step: int  # its place in the graph
    input_db: float  # the least of its inputs; tensors that are the same have 100 dB
    output_db: float
    source: str = ""  # its operator in the float file, as `quantize` keeps it in float
    range_used: float | None = None  # share of the integers that its output takes; None: a float output
    saturated: float | None = None  # share of its output's values at the end of the range, where that is no zero

    @property
    def added_noise(self) -> float:
        """The noise that this operator adds, as a share of its signal's power: 10^(-output/10) - 10^(-input/10)."""
        return float(10 ** (-self.output_db / 10) - 10 ** (-self.input_db / 10))

    def __str__(self) -> str:
        """`CONV_2D conv1, operator 3: 38.2 dB before it, 9.1 dB after it`."""
        fall = f"{self.input_db:.1f} dB before it, {self.output_db:.1f} dB after it"
        return f"{self.kind} {self.name}, operator {self.step}: {fall}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def layer_noise(
    reference: Artifact, candidate: Artifact, samples: Samples, normalization: Normalization | None = None
) -> tuple[LayerNoise, ...]:
    """Return the SQNR of each layer of *candidate*, in the order of its graph; nothing where the two do not match.

    10 log10 of the ratio of the sum of squares of the float tensor to that of the differences, over all *samples*.
    The operators of TFLite files match where both files have the same kinds in the same order, conversions left out;
    those of ONNX files by the names of their tensors.

    Args:
        reference: the fp32 file that *candidate* was made from.
        candidate: a quantized file of the same format, an ONNX file with QuantizeLinear and DequantizeLinear.
        samples: a few, images [C, H, W] or what the network wants already.
        normalization: how pixels become inputs; None: as the files say.

    Raises:
        EdgecnnError: the samples do not fit.
    """
    is_onnx = candidate.format == "onnx"
    twins = (_twins_by_name if is_onnx else _twins)(reference.graph, candidate.graph)
    if not twins or (is_onnx and len(reference.inputs) > 1):
        return ()
    sums: dict[int, npt.NDArray[np.float64]] = {}  # tensor → of each channel: squares of both, and the products
    plans = [plan_for(file, samples, normalization, None) for file in (reference, candidate)]
    runs = [
        _every_onnx_tensor(file, wanted) if is_onnx else every_tensor(str(file.path))
        for file, wanted in ((reference, twins.values()), (candidate, twins))
    ]
    spans = {index: _Span() for index in twins}
    for batch in samples.batched(1):
        ours, theirs = (run(plan.prepare(batch.x)) for run, plan in zip(runs, plans, strict=True))
        for index, twin in twins.items():
            stored = theirs(index)
            spans[index].add(stored, candidate.graph.tensors[index].quant)
            real, given = ours(twin).astype(np.float64), _real(candidate.graph, index, stored)
            channels = [_by_channel(values, 1 if is_onnx else -1) for values in (real, given)]
            products = [np.einsum("nc,nc->c", *pair) for pair in (channels[:1] * 2, channels, channels[1:] * 2)]
            sums[index] = sums.get(index, 0.0) + np.array(products)
    is_scaled = bool(candidate.metadata.get("equalization"))
    known = {index: _level(*sums[index], is_scaled=is_scaled) for index in twins}
    names = {index: short_name(reference.graph.tensors[twin].name) for index, twin in twins.items()}
    makers = {index: operator.name for operator in reference.graph.operators for index in operator.outputs}
    sources = {index: makers.get(twin, "") for index, twin in twins.items()}
    return tuple(_layers(candidate.graph, known, names, sources, spans))


def worst_layer(layers: Sequence[LayerNoise]) -> LayerNoise | None:
    """Return the layer that adds the most noise; None where no layer is known."""
    return max(layers, key=lambda layer: layer.added_noise, default=None)


def _twins(reference: Graph, candidate: Graph) -> dict[int, int]:
    """Return each activation of *candidate* with the one of *reference* that it stands for."""
    ours, theirs = (
        [operator for operator in graph.operators if operator.kind not in _CONVERSIONS]
        for graph in (reference, candidate)
    )
    if [operator.kind for operator in ours] != [operator.kind for operator in theirs]:
        return {}
    twins = dict(zip(candidate.inputs, reference.inputs, strict=False))
    for mine, yours in zip(ours, theirs, strict=True):
        twins.update(zip(yours.outputs, mine.outputs, strict=False))
    for operator in candidate.operators:
        if operator.kind in _CONVERSIONS and operator.inputs[0] in twins:
            twins[operator.outputs[0]] = twins[operator.inputs[0]]
    pairs = ((index, twin, reference.tensors[twin]) for index, twin in twins.items())
    return {
        index: twin
        for index, twin, real in pairs
        if real.dtype == "float32" and real.shape == candidate.tensors[index].shape
    }


def _twins_by_name(reference: Graph, candidate: Graph) -> dict[int, int]:
    """Return each activation of the QDQ file *candidate* with the one of *reference* of the same name.

    Both what an operator gives and what comes of it by rounding stand for one tensor.
    """
    places = {tensor.name: index for index, tensor in enumerate(candidate.tensors) if not tensor.constant}
    twins = {}
    for twin, real in enumerate(reference.tensors):
        for name in (real.name, f"{real.name}_DequantizeLinear_Output"):
            index = places.get(name, -1)
            is_value = index >= 0 and not real.constant and real.dtype == "float32"
            if is_value and real.shape == candidate.tensors[index].shape:
                twins[index] = twin
    return twins


def _every_onnx_tensor(
    artifact: Artifact, wanted: Iterable[int]
) -> Callable[[Sequence[Array]], Callable[[int], Array]]:
    """Return what runs an ONNX file and then reads its tensors *wanted* by their index, as `every_tensor` does."""
    indices = list(dict.fromkeys(wanted))
    program = OnnxProgram(require("onnx", "onnx").load(str(artifact.path)))
    observe = program.observer([artifact.graph.tensors[index].name for index in indices])

    def run(arrays: Sequence[Array]) -> Callable[[int], Array]:
        values = dict(zip(indices, observe(arrays[0]), strict=True))
        return values.__getitem__

    return run


def _by_channel(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Return *values* as [n, C]; of fewer than three axes the last one is that of the channels."""
    moved = np.moveaxis(values, axis if values.ndim > 2 else -1, -1)
    return moved.reshape(-1, moved.shape[-1])


@dataclass
class _Span:
    """Which integers a tensor takes."""

    low: int | None = None
    high: int | None = None
    steps: int = 1
    clipped: int = 0
    count: int = 0

    def add(self, stored: npt.NDArray[Any], quant: QuantParams | None) -> None:
        if stored.dtype.kind not in "iu" or quant is None or not stored.size:
            return
        limits, low, high = np.iinfo(stored.dtype), int(stored.min()), int(stored.max())
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        self.steps = limits.max - limits.min
        # The end that stands for 0 is where a ReLU puts what is negative: nothing is lost there.
        ends = [end for end in (limits.min, limits.max) if end != quant.zero_point[0]]
        self.clipped += int(np.isin(stored, ends).sum())
        self.count += stored.size

    @property
    def range_used(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / self.steps

    @property
    def saturated(self) -> float | None:
        return self.clipped / self.count if self.count else None


def _layers(
    graph: Graph,
    known: dict[int, float],
    names: dict[int, str],
    sources: dict[int, str],
    spans: dict[int, _Span],
) -> Iterator[LayerNoise]:
    rounded = _rounded(graph)
    for step, operator in enumerate(graph.operators):
        before = [known[index] for index in operator.inputs if index in known]
        after = [known[end] for index in operator.outputs if (end := rounded.get(index, index)) in known]
        if operator.kind not in _CONVERSIONS and before and after:
            output = next(end for index in operator.outputs if (end := rounded.get(index, index)) in names)
            span = spans[output]
            yield LayerNoise(
                operator.kind,
                names[output],
                step,
                min(before),
                min(after),
                sources[output],
                span.range_used,
                span.saturated,
            )


def _rounded(graph: Graph) -> dict[int, int]:
    """Return the tensors of a QDQ file that are rounded, each with what it is rounded to."""
    quantized = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.kind == "QuantizeLinear"}
    back = [op for op in graph.operators if op.kind == "DequantizeLinear" and op.inputs[0] in quantized]
    return {quantized[op.inputs[0]]: op.outputs[0] for op in back}


def _real(graph: Graph, index: int, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    quant = graph.tensors[index].quant
    if stored.dtype.kind in "iu" and quant is not None:
        stored = quant.dequantize(stored)
    return stored.astype(np.float64)


def _level(
    real: npt.NDArray[np.float64],
    products: npt.NDArray[np.float64],
    given: npt.NDArray[np.float64],
    *,
    is_scaled: bool,
) -> float:
    """Return the SQNR from the sums of squares and products of each channel.

    Where the file's channels are those of the network times numbers that equalization chose (*is_scaled*), the noise is
    what is left beside the best such number.
    """
    noise = real - 2 * products + given
    if is_scaled:
        noise = real - products**2 / np.maximum(given, 1e-300)
    return _decibels(float(real.sum()), max(float(noise.sum()), 0.0))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return _MOST_DB
    return min(_MOST_DB, 10 * math.log10(signal / noise)) if signal > 0 else 0.0
