"""`kernels_of`: the operators of a file as a runtime runs them, each with what the runtime fuses into it.

ONNX writes down what TFLite has fused already: a Relu after a convolution, a hard swish in five operators, a bias as an
addition. The same network is to give the same kernels from both. What stays different is what a runtime does run:
LiteRT a PAD before an integer convolution or a pooling, and each operator that another exporter took apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from edgecnn.formats import Graph, Operator
from edgecnn.formats.precision import between_conversions, computed_precisions

CONVOLUTIONS = frozenset(
    {"CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "Conv", "ConvTranspose", "ConvInteger", "QLinearConv"}
)
DEPTHWISE = "DEPTHWISE_CONV_2D"
LINEAR = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"})
_COMPUTING = CONVOLUTIONS | LINEAR | {DEPTHWISE}
_POOLINGS = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "MaxPool", "AveragePool"})
_ARITHMETIC = frozenset({"ADD", "SUB", "MUL", "DIV", "Add", "Sub", "Mul", "Div"})
_PADDING = frozenset({"PAD", "PADV2", "MIRROR_PAD", "Pad"})

#: They change no value, or only once, when the file is loaded.
_FREE = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze"}
    | {"Unsqueeze"}
)
_CLAMPS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "Relu", "Clip"})
#: Where a clamp costs nothing: the kernel before it clamps what it writes (XNNPACK, CMSIS-NN, ncnn, onnxruntime).
_CLAMPING = _COMPUTING | _POOLINGS | _ARITHMETIC | {"BatchNormalization", "GlobalAveragePool", "MEAN"}
#: Runtime → other activations that its convolutions and linear layers apply themselves.
_ACTIVATIONS = {
    "ncnn": frozenset(
        {"LEAKY_RELU", "LOGISTIC", "HARD_SWISH", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish"}
    ),
    "onnxruntime": frozenset({"LEAKY_RELU", "LOGISTIC", "TANH", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"}),
}
#: Runtimes that never read a TFLite file: what is estimated is the network that the file holds. They compute
#: x * sigmoid(x) in one operator, and pad in the convolution or pooling itself.
_CONVERTED = frozenset({"ncnn", "onnxruntime"})
_RELU6 = 3  # the code of a TFLite file for an activation that is fused already
#: What stands between a value and its gate in a hard swish, x * clip(x + 3, 0, 6) / 6, that was taken apart.
_GATE = _ARITHMETIC | _CLAMPS | {"HardSigmoid", "Sigmoid", "LOGISTIC"}
_SCALING = frozenset({"DIV", "MUL", "Div", "Mul"})
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Kernel:
    """One operator as a runtime runs it; it reads what the first of those fused reads and writes what the last does."""

    operator: Operator
    precision: str  # name of a row of `edgecnn.formats.precision.PRECISIONS`: what it computes in
    closed: bool = False  # an activation is taken in, so a constant that follows cannot be folded into the weights


def kernels_of(graph: Graph, runtime: str) -> list[Kernel]:
    """Return what *runtime* has to run of *graph*, in order: no views, constants, or conversions between integers.

    In a QDQ ONNX file what is between conversions computes in integers, and only those to and from float are run.

    Example:
        >>> [kernel.operator.kind for kernel in kernels_of(read_graph("net.onnx"), "litert")]
        ['Conv', 'MaxPool', 'Gemm']
    """
    known = constants_of(graph)
    floats = _float_values(graph, between_conversions(graph))
    kernels = [
        Kernel(operator, precision.name)
        for operator, precision in zip(_renamed(graph), computed_precisions(graph), strict=True)
        if not _is_free(graph, operator, known, floats)
    ]
    fusing = _Fusing(graph, known, runtime)
    return fusing.activations(fusing.gates(fusing.padding(kernels)))


def constants_of(graph: Graph) -> frozenset[int]:
    """Return the tensors whose values the file fixes: its constants, and what is computed from them alone."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant}
    for operator in graph.operators:
        if all(index < 0 or index in known for index in operator.inputs):
            known.update(operator.outputs)
    return frozenset(known)


def _renamed(graph: Graph) -> list[Operator]:
    """Return the operators, each reading past what only hands a value on (Identity, Dropout)."""
    names: dict[int, int] = {}
    found = []
    for operator in graph.operators:
        operator = replace(operator, inputs=tuple(names.get(index, index) for index in operator.inputs))
        if operator.kind in ("Identity", "Dropout") and operator.outputs:
            names[operator.outputs[0]] = operator.inputs[0]
        found.append(operator)
    return found


def _float_values(graph: Graph, integer: frozenset[int]) -> frozenset[int]:
    """Return the tensors of a QDQ file that are float where they are computed or read: a conversion there is run."""
    found = {*graph.inputs, *graph.outputs}
    for index, operator in enumerate(graph.operators):
        if operator.kind not in _CONVERSIONS and index not in integer:
            found.update((*operator.inputs, *operator.outputs))
    return frozenset(found)


def _is_free(graph: Graph, operator: Operator, known: frozenset[int], floats: frozenset[int]) -> bool:
    """Return whether an operator costs nothing: views, what is computed once, and conversions within a QDQ file."""
    if operator.kind in _FREE or not [index for index in operator.inputs if index >= 0 and index not in known]:
        return True
    if operator.kind in ("Transpose", "TRANSPOSE"):
        return _moves_nothing(graph, operator)
    if operator.kind not in _CONVERSIONS:
        return False
    if operator.kind == "QuantizeLinear":
        return operator.inputs[0] not in floats
    return operator.outputs[0] not in floats


def _moves_nothing(graph: Graph, operator: Operator) -> bool:
    """Return whether a transpose moves sides of 1 alone, so that the values stay where they are."""
    before, after = (
        [side for side in graph.tensors[index].shape if side != 1]
        for index in (operator.inputs[0], operator.outputs[0])
    )
    return before == after and len(set(before)) == len(before)


_Readers = dict[int, list[int]]


def _readers(kernels: Sequence[Kernel], outputs: Sequence[int] = ()) -> _Readers:
    """Return tensor → places of the kernels that read it; -1 for whoever reads one of *outputs*."""
    found: _Readers = {index: [-1] for index in outputs}
    for place, kernel in enumerate(kernels):
        for index in set(kernel.operator.inputs):
            found.setdefault(index, []).append(place)
    return found


@dataclass(frozen=True)
class _Fusing:
    """The steps by which a runtime takes operators into their neighbours; each returns the kernels that are left."""

    graph: Graph
    known: frozenset[int]
    runtime: str

    def padding(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Take padding into the convolutions that follow; who reads TFLite files does so in float alone."""
        everywhere = self.runtime in _CONVERTED
        padded = CONVOLUTIONS | {DEPTHWISE} | (_POOLINGS if everywhere else frozenset())
        unpadded: dict[int, int] = {}
        readers = _readers(kernels)
        found = []
        for kernel in kernels:
            operator = kernel.operator
            if operator.kind in _PADDING and (everywhere or kernel.precision == "fp32"):
                after = readers.get(operator.outputs[0], [])
                if after and all(kernels[place].operator.kind in padded for place in after):
                    unpadded[operator.outputs[0]] = operator.inputs[0]
                    continue
            inputs = tuple(unpadded.get(index, index) for index in operator.inputs)
            found.append(replace(kernel, operator=replace(operator, inputs=inputs)))
        return found

    def gates(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Take x * gate(x) together where it is a hard swish, or a swish that *runtime* knows."""
        if self.graph.format != "onnx" and self.runtime not in _CONVERTED:
            return list(kernels)
        writer = {index: place for place, kernel in enumerate(kernels) for index in kernel.operator.outputs}
        readers = _readers(kernels, self.graph.outputs)
        fused: set[int] = set()
        found = list(kernels)
        for place, kernel in enumerate(kernels):
            chain = (
                self._gate_of(kernels, writer, readers, kernel.operator)
                if kernel.operator.kind in ("MUL", "Mul")
                else None
            )
            if chain is None:
                continue
            value, steps = chain
            kinds = {kernels[step].operator.kind for step in steps}
            hard = bool(kinds & (_CLAMPS | {"HardSigmoid"}))
            if not hard and (self.runtime not in _CONVERTED or not kinds & {"LOGISTIC", "Sigmoid"}):
                continue
            fused.update(steps)
            last = kernel.operator
            after = (
                self._scaling(kernels, readers.get(last.outputs[0], []))
                if hard and not kinds & {"HardSigmoid", "Div"}
                else None
            )
            if after is not None:
                fused.add(after)
                last = kernels[after].operator
            swish = Operator("HardSwish" if hard else "Sigmoid", (value,), last.outputs, name=last.name)
            found[place] = replace(kernel, operator=swish)
        return [kernel for place, kernel in enumerate(found) if place not in fused]

    def _gate_of(
        self, kernels: Sequence[Kernel], writer: dict[int, int], readers: _Readers, product: Operator
    ) -> tuple[int, list[int]] | None:
        """Return (x, the places of the gate's operators) where *product* is x * gate(x), else None."""
        for value, gate in (product.inputs, product.inputs[::-1]):
            steps: list[int] = []
            while gate != value and gate in writer and len(readers[gate]) == 1 and len(steps) < 4:
                operator = kernels[writer[gate]].operator
                moving = [index for index in operator.inputs if index >= 0 and index not in self.known]
                if operator.kind not in _GATE or len(moving) != 1:
                    break
                steps.append(writer[gate])
                gate = moving[0]
            if gate == value and steps:
                return value, steps
        return None

    def _scaling(self, kernels: Sequence[Kernel], readers: Sequence[int]) -> int | None:
        """Return the place of the division or product by a number that is the only one of *readers*; None: none is."""
        if len(readers) == 1 and readers[0] >= 0 and kernels[readers[0]].operator.kind in _SCALING:
            return readers[0] if self._constant_operands(kernels[readers[0]].operator) == [1] else None
        return None

    def _constant_operands(self, operator: Operator) -> list[int]:
        """Return how many values each constant operand has; nothing where more than one operand is no constant."""
        fixed = [prod(self.graph.tensors[index].shape) for index in operator.inputs if index in self.known]
        return fixed if len(operator.inputs) - len(fixed) == 1 else []

    def activations(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Take activations, and what an ONNX file adds to or multiplies with weights, into the kernel before."""
        readers = Counter(index for kernel in kernels for index in set(kernel.operator.inputs))
        readers.update(self.graph.outputs)
        found: list[Kernel] = []
        writer: dict[int, int] = {}
        for kernel in kernels:
            own, source = kernel.operator, next(self._moving(kernel.operator), -1)
            place = writer.get(source)
            before = None if place is None or readers[source] != 1 else found[place]
            if before is not None and place is not None and (activation := self._joins(before, kernel)) is not None:
                joined = replace(before.operator, outputs=own.outputs)
                found[place] = replace(before, operator=joined, closed=before.closed or activation)
            else:
                place = len(found)
                found.append(kernel)
            writer.update(dict.fromkeys(own.outputs, place))
        return found

    def _moving(self, operator: Operator) -> Iterator[int]:
        return (index for index in operator.inputs if index >= 0 and index not in self.known)

    def _joins(self, before: Kernel, kernel: Kernel) -> bool | None:
        """Return None where *kernel* does not go into *before*; else whether it does so as an activation."""
        kind, own = before.operator.kind, kernel.operator.kind
        if before.closed:
            return None
        if own in _CLAMPS:
            return True if kind in _CLAMPING else None
        if kind not in _COMPUTING:
            return None
        if own in _ACTIVATIONS.get(self.runtime, ()):
            return True
        fixed = self._constant_operands(kernel.operator) if own in _ARITHMETIC else []
        if (
            "HardSigmoid" in _ACTIVATIONS.get(self.runtime, ())
            and before.operator.options.get("activation") == _RELU6
            and fixed == [1]
        ):
            return True  # a hard sigmoid, which TFLite has no operator for
        if self.graph.format != "onnx":
            return None
        if own == "BatchNormalization":
            return False
        channels = self.graph.tensors[before.operator.outputs[0]].shape
        return False if fixed and fixed[0] in {1, *channels} else None
