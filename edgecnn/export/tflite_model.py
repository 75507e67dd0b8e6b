"""A TFLite file as objects that can be changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require

Array = npt.NDArray[Any]


def load_tflite(content: bytes) -> Any:
    """Return a TFLite flatbuffer as the schema's `ModelT`.

    Constants that the converter appended behind the flatbuffer are taken into it: not every runtime reads them there.
    """
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for "in here"
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack_tflite(model: Any) -> bytes:
    """Return the flatbuffer of a `ModelT`."""
    flatbuffers: Any = require("flatbuffers", "torch")

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """The schema asks for constants at multiples of 16 bytes, which the generated Python code does not heed."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = AlignedBuilder(size + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@dataclass
class TFLiteModel:
    """The first subgraph of a file; tensors are named by their index."""

    schema: Any
    model: Any  # `ModelT`

    @classmethod
    def read(cls, content: bytes) -> TFLiteModel:
        """Return the file *content*."""
        return cls(require("ai_edge_litert.schema_py_generated", "torch"), load_tflite(content))

    def to_bytes(self) -> bytes:
        """Return the file."""
        return pack_tflite(self.model)

    @property
    def graph(self) -> Any:
        """The first subgraph."""
        return self.model.subgraphs[0]

    @property
    def operators(self) -> list[Any]:
        """The operators in their order."""
        return list(self.graph.operators)

    @cached_property
    def _names(self) -> dict[int, str]:
        codes = vars(self.schema.BuiltinOperator)
        return {number: name for name, number in codes.items() if isinstance(number, int)}

    def kind(self, operator: Any) -> str:
        """Return the name of an operator, as `Operator.kind` has it."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self._names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def set_kind(self, operator: Any, kind: str, version: int = 1) -> None:
        """Make *operator* one of another *kind*; its options stay."""
        operator.opcodeIndex = self._code(kind, version)

    def _code(self, kind: str, version: int) -> int:
        number = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self.model.operatorCodes):
            if (max(code.builtinCode, code.deprecatedBuiltinCode), code.version) == (number, version):
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, version: int = 1
    ) -> Any:
        """Return a new operator, which stands nowhere yet; *options* is of the schema (`ConcatenationOptionsT`)."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code(kind, version)
        made.inputs, made.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return made

    def dtype(self, index: int) -> str:
        """Return the data type of a tensor: `FLOAT32`, `INT8`."""
        types = vars(self.schema.TensorType)
        return next(str(name) for name, number in types.items() if number == self.graph.tensors[index].type)

    def name(self, index: int) -> str:
        """Return the name of a tensor."""
        return (self.graph.tensors[index].name or b"").decode(errors="replace")

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        shape = self.graph.tensors[index].shape
        return () if shape is None else tuple(map(int, shape))

    def constant(self, index: int) -> Array | None:
        """Return the values of a tensor stored in the file; None where it is an activation or left out (-1)."""
        if index < 0:
            return None
        data = self.model.buffers[self.graph.tensors[index].buffer].data
        dtypes = {"FLOAT32": np.float32, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
        if data is None or len(data) == 0 or self.dtype(index) not in dtypes:
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtypes[self.dtype(index)]).reshape(self.shape(index))

    def quantization(self, index: int) -> tuple[float, int] | None:
        """Return scale and zero point of a tensor that has one of each, else None."""
        found = self.graph.tensors[index].quantization
        if found is None or found.scale is None or len(found.scale) != 1:
            return None
        return float(found.scale[0]), int(found.zeroPoint[0])

    def add_tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        quantization: tuple[float, int] | None = None,
        data: Array | None = None,
    ) -> int:
        """Add a tensor, a constant where it has *data*, and return its index."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.asarray(shape, np.int32)
        tensor.type = getattr(self.schema.TensorType, dtype)
        if quantization is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(quantization[:1], np.float32)
            tensor.quantization.zeroPoint = np.asarray(quantization[1:], np.int64)
        buffer = self.schema.BufferT()
        if data is not None:
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        tensor.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def name_outputs(self, names: Sequence[str]) -> None:
        """Give the outputs of the signature these *names*; the graph has them in the same order."""
        entries = {entry.name.decode(): entry for entry in self.model.signatureDefs[0].outputs}
        ordered = [entries[f"output_{number}"] for number in range(len(names))]
        for entry, name in zip(ordered, names, strict=True):
            entry.name = name.encode()
        self.model.signatureDefs[0].outputs = ordered
        self.graph.outputs = np.asarray([entry.tensorIndex for entry in ordered], np.int32)

    def name_inputs(self, names: Sequence[str]) -> None:
        """Give the inputs of the signature, and their tensors, these *names*, in the order in which they are taken."""
        entries = {entry.name.decode(): entry for entry in self.model.signatureDefs[0].inputs}
        ordered = [entries[f"args_{number}"] for number in range(len(names))]
        for entry, name in zip(ordered, names, strict=True):
            entry.name = name.encode()
            self.graph.tensors[entry.tensorIndex].name = name.encode()
        self.model.signatureDefs[0].inputs = ordered
        self.graph.inputs = np.asarray([entry.tensorIndex for entry in ordered], np.int32)

    def show_output_names(self) -> None:
        """Give the outputs' tensors their names in the signature, where there are several or one has a name."""
        entries = self.model.signatureDefs[0].outputs if self.model.signatureDefs else []
        for entry in entries if len(entries) > 1 or any(entry.name != b"output" for entry in entries) else ():
            self.graph.tensors[entry.tensorIndex].name = entry.name

    def readers(self) -> dict[int, list[Any]]:
        """Return the operators that read each tensor, in their order."""
        found: dict[int, list[Any]] = {}
        for operator in self.graph.operators:
            for index in dict.fromkeys(map(int, _all(operator.inputs))):
                found.setdefault(index, []).append(operator)
        return found

    def producers(self) -> dict[int, Any]:
        """Return the operator that gives each tensor."""
        return {int(index): operator for operator in self.graph.operators for index in _all(operator.outputs)}

    def rewrite(self, change: Callable[[Any], Sequence[Any]]) -> None:
        """Replace each operator by those that *change* returns for it, then leave out what nobody reads."""
        self.graph.operators = [made for operator in self.operators for made in change(operator)]
        self.drop_unread()

    def drop_unread(self) -> None:
        """Leave out the operators whose outputs nobody reads, and the tensors and constants that nobody names."""
        needed = set(map(int, self.graph.outputs))
        kept = []
        for operator in reversed(self.graph.operators):
            outputs = set(map(int, _all(operator.outputs)))
            if not outputs or outputs & needed:
                kept.append(operator)
                needed |= outputs | set(map(int, _all(operator.inputs)))
        self.graph.operators = kept[::-1]
        self._keep((needed | set(map(int, self.graph.inputs))) - {-1})

    def _keep(self, indices: set[int]) -> None:
        """Leave out all tensors but these, and the constants that no tensor names any more."""
        places = {old: new for new, old in enumerate(sorted(indices))} | {-1: -1}
        graph = self.graph
        before = {tensor.buffer for tensor in graph.tensors}
        graph.tensors = [graph.tensors[index] for index in sorted(indices)]
        kept = {tensor.buffer for subgraph in self.model.subgraphs for tensor in subgraph.tensors}
        for buffer in before - kept:
            self.model.buffers[buffer].data = None
        for part in (graph, *graph.operators):
            for name in ("inputs", "outputs"):
                ends = [places[int(index)] for index in _all(getattr(part, name))]
                setattr(part, name, np.asarray(ends, np.int32))
        for signature in self.model.signatureDefs or ():
            if signature.subgraphIndex == 0:
                for entry in (*signature.inputs, *signature.outputs):
                    entry.tensorIndex = places[entry.tensorIndex]


def _all(indices: Any) -> Any:
    return () if indices is None else indices
