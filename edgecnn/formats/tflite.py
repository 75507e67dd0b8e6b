"""Read a `.tflite` file by its flatbuffer alone: no runtime is asked, so none can crash."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, prod
from mmap import ACCESS_READ, mmap
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.formats.flatbuffer import Flatbuffer, FlatbufferError, FlatbufferTable
from edgecnn.formats.graph import Graph, Operator, QuantParams, Tensor, checked_shape
from edgecnn.formats.tflite_schema import CONTROL_FLOW, CUSTOM, OPERATORS, OPTIONS, TYPES

_IDENTIFIER = b"TFL3"


def read_tflite(path: Path | str) -> Graph:
    """Return what the file at *path* says: its first subgraph, and `further` ones.

    Raises:
        EdgecnnError: empty, truncated or not a `.tflite` file, or its network calls other subgraphs.
    """
    path = Path(path)
    size_bytes = os.path.getsize(path)
    if size_bytes < 8:
        raise EdgecnnError(f"{path}: not a .tflite file: it has {size_bytes} bytes")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if content[4:8] != _IDENTIFIER:
            raise EdgecnnError(f"{path}: not a .tflite file: its bytes 4 to 8 are not 'TFL3'")
        try:
            return _read_model(Flatbuffer(content).root(), size_bytes)
        except ValueError as error:  # a FlatbufferError, or a shape that cannot be
            raise EdgecnnError(f"{path}: broken .tflite file: {error}; copy or export it again") from None


def read_tflite_content(content: bytes) -> Graph:
    """Return what the *content* of a `.tflite` file says, one that edgecnn itself has made."""
    return _read_model(Flatbuffer(content).root(), len(content))


def _read_model(model: FlatbufferTable, size_bytes: int) -> Graph:
    subgraphs = model.tables(2)
    if not subgraphs:
        raise FlatbufferError("it has no network")
    buffers = model.tables(4)
    external_bytes = {table.number(0, "I"): table.number(3, "Q") for table in model.tables(9)}
    stored_bytes = tuple(_stored_bytes(buffer, size_bytes) for buffer in buffers)
    kinds = [_kind(code) for code in model.tables(1)]
    first, *further = (
        _read_subgraph(subgraph, kinds, stored_bytes, external_bytes, size_bytes) for subgraph in subgraphs
    )
    called = sorted({operator.kind for operator in first.operators} & CONTROL_FLOW)
    if called:
        raise FlatbufferError(f"{', '.join(called)} runs other subgraphs, which edgecnn does not read")
    metadata = {}
    for table in model.tables(6):
        index = table.number(1, "I")
        if index >= len(buffers):
            raise FlatbufferError(f"metadata names buffer {index} of {len(buffers)}")
        metadata[table.text(0)] = buffers[index].raw(0)
    return replace(first, metadata=metadata, further=tuple(further))


def _read_subgraph(
    subgraph: FlatbufferTable,
    kinds: Sequence[str],
    stored_bytes: Sequence[int],
    external_bytes: Mapping[int, int],
    size_bytes: int,
) -> Graph:
    tensors = tuple(_read_tensor(table, stored_bytes, external_bytes) for table in subgraph.tables(0))
    operators = tuple(_read_operator(table, kinds, tensors) for table in subgraph.tables(3))
    inputs, outputs = subgraph.integers(1), subgraph.integers(2)
    _check_indices((*inputs, *outputs), len(tensors), lowest=0)
    return Graph("tflite", tensors, operators, inputs, outputs, size_bytes)


def _stored_bytes(buffer: FlatbufferTable, size_bytes: int) -> int:
    """Return how much data a buffer has: in the flatbuffer, or behind it in files over 2 GB (offset and size)."""
    offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if offset <= 1:
        return buffer.length(0)
    if offset + size > size_bytes:
        raise FlatbufferError("it is truncated")
    return size


def _read_tensor(table: FlatbufferTable, stored_bytes: Sequence[int], external_bytes: Mapping[int, int]) -> Tensor:
    code = table.number(1, "b")
    if not 0 <= code < len(TYPES):
        raise FlatbufferError(f"unknown tensor type {code}")
    dtype, bits = TYPES[code]
    name = table.text(3)
    shape = checked_shape(name, tuple(1 if size == -1 else size for size in table.integers(0)))
    index = table.number(2, "I")
    if index >= max(len(stored_bytes), 1):
        raise FlatbufferError(f"a tensor names buffer {index} of {len(stored_bytes)}")
    data_bytes = external_bytes.get(table.number(10, "I"), 0) or (stored_bytes[index] if stored_bytes else 0)
    quantization = table.table(4)
    return Tensor(
        name=name,
        shape=shape,
        dtype=dtype,
        quant=None if quantization is None else _read_quantization(quantization),
        constant=data_bytes > 0,
        variable=bool(table.number(5, "?")),
        size_bytes=data_bytes or (prod(shape) * bits + 7) // 8,
    )


def _read_quantization(table: FlatbufferTable) -> QuantParams | None:
    scale = tuple(float(value) for value in table.vector(2, "float32").tolist())
    if not scale:
        return None
    if not all(map(isfinite, scale)):
        raise FlatbufferError("a scale is not a finite number")
    zero_point = table.integers(3, "int64") or (0,)
    if len(zero_point) != len(scale):
        zero_point = zero_point[:1] * len(scale)
    return QuantParams(scale, zero_point, table.number(6, "i") if len(scale) > 1 else None)


def _kind(code: FlatbufferTable) -> str:
    """Return an operator's name; the larger of the two code fields counts, for the older one ends at 127."""
    number = max(code.number(0, "b"), code.number(3, "i"))
    if number == CUSTOM:
        return code.text(1) or "CUSTOM"
    # An operator newer than this table is named by its number, so that a check can still name it as unsupported.
    return OPERATORS[number] if 0 <= number < len(OPERATORS) else f"OPERATOR_{number}"


def _read_operator(table: FlatbufferTable, kinds: Sequence[str], tensors: Sequence[Tensor]) -> Operator:
    code = table.number(0, "I")
    if code >= len(kinds):
        raise FlatbufferError(f"an operator names code {code} of {len(kinds)}")
    kind, inputs, outputs = kinds[code], table.integers(1), table.integers(2)
    _check_indices(inputs, len(tensors), lowest=-1)
    _check_indices(outputs, len(tensors), lowest=0)
    options, slots = table.table(4), OPTIONS.get(kind, {})
    return Operator(
        kind=kind,
        inputs=inputs,
        outputs=outputs,
        macs=_macs(kind, [tensors[index].shape if index >= 0 else () for index in inputs], tensors, outputs),
        options={} if options is None else {name: options.number(*slot) for name, slot in slots.items()},
        name=_operator_name(kind, options, tensors[outputs[0]].name if outputs else ""),
    )


def _operator_name(kind: str, options: FlatbufferTable | None, output: str) -> str:
    """Return the name of an operator's output; of a VAR_HANDLE that of the variable it leads to (shared_name)."""
    return options.text(1) if kind == "VAR_HANDLE" and options is not None else output


def _check_indices(indices: Sequence[int], count: int, *, lowest: int) -> None:
    for index in indices:
        if not lowest <= index < count:
            raise FlatbufferError(f"tensor {index} of {count} is named")


def _macs(kind: str, inputs: Sequence[tuple[int, ...]], tensors: Sequence[Tensor], outputs: Sequence[int]) -> int:
    """Return the multiply-adds of one operator.

    Weights are CONV_2D [O, H, W, I], CONV_3D [D, H, W, I, O], DEPTHWISE_CONV_2D [1, H, W, O], FULLY_CONNECTED [O, I]
    and TRANSPOSE_CONV [O, H, W, I], whose image is the third input.
    """
    if len(inputs) < 2 or not outputs:
        return 0
    produced, weights = prod(tensors[outputs[0]].shape), inputs[1]
    if kind == "CONV_2D":
        return produced * prod(weights[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return produced * prod(weights[1:3])
    if kind == "CONV_3D":
        return produced * prod(weights[:4])
    if kind == "TRANSPOSE_CONV":
        return prod(inputs[2]) * prod(weights[:3]) if len(inputs) > 2 else 0
    if kind == "FULLY_CONNECTED":
        return produced * prod(weights[-1:])
    if kind == "BATCH_MATMUL":
        return produced * prod(inputs[0][-1:])
    return 0
