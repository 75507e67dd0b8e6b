"""Read an `.onnx` file with the `onnx` package: no runtime is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError, require
from edgecnn.formats.graph import Graph, Operator, QuantParams, Tensor, checked_shape
from edgecnn.formats.onnx_data import read_data_files
from edgecnn.parsing import convert, parse_json

#: Shape inference reads the values of small constants (the target of a Reshape), never those of weights.
_SHAPE_VALUE_BYTES = 4096
_Shapes = dict[str, tuple[tuple[int, ...], str]]


def read_onnx(path: Path | str, input_shape: tuple[int, ...] | None = None) -> Graph:
    """Return what the file at *path* says; shapes the file leaves out are inferred, an open batch counts as 1.

    Other open sizes of its first input are those of *input_shape*, which is without the batch.

    Raises:
        EdgecnnError: onnx is not installed; empty, truncated or not an ONNX file; a data file (`onnx_data`) that is
            missing, too short or in another folder; or an input whose size (other than the batch) is left open.
    """
    path = Path(path)
    onnx = require("onnx", "onnx")
    protobuf = require("google.protobuf.message", "onnx")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (protobuf.DecodeError, ValueError) as error:
        raise EdgecnnError(f"{path}: not an .onnx file: {error}") from None
    if not model.graph.node or not model.graph.output:
        raise EdgecnnError(f"{path}: not an .onnx file, or it has no network; copy or export it again")
    try:
        return _read_model(onnx, model, path, input_shape)
    except (IndexError, KeyError, TypeError, ValueError, onnx.shape_inference.InferenceError) as error:
        text = " ".join(str(error).split())[:200]
        raise EdgecnnError(f"{path}: broken .onnx file: {text}; copy or export it again") from None


def _read_model(onnx: Any, model: Any, path: Path, input_shape: tuple[int, ...] | None) -> Graph:
    data_files = read_data_files(onnx, model, path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            constants[node.output[0]] = _constant_of(onnx, node)
    sizes = {name: _stored_bytes(onnx, tensor) for name, tensor in constants.items()}
    _close_sizes(model, constants, path, input_shape or ())
    shapes = _shapes_of(onnx, model)
    shapes.update({name: (_dims(tensor), _dtype(onnx, tensor.data_type)) for name, tensor in constants.items()})

    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    named: Iterable[str] = (name for node in nodes for name in (*node.input, *node.output) if name)
    index = {name: i for i, name in enumerate(dict.fromkeys((*inputs, *constants, *named, *outputs)))}
    metadata = {_text(entry.key): _text(entry.value).encode() for entry in model.metadata_props}
    quant = _quantization(metadata, path)
    tensors = tuple(_tensor(onnx, name, shapes.get(name), sizes.get(name), quant.get(name)) for name in index)
    operators = tuple(_operator(node, index, shapes) for node in nodes)
    return Graph(
        "onnx",
        tensors,
        operators,
        tuple(index[name] for name in inputs),
        tuple(index[name] for name in outputs),
        sum(file.stat().st_size for file in (path, *(path.parent / name for name in data_files))),
        metadata,
        data_files,
    )


def _constant_of(onnx: Any, node: Any) -> Any:
    """Return the value of a Constant node as a TensorProto."""
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return value
    kind = {"value_float": onnx.TensorProto.FLOAT, "value_floats": onnx.TensorProto.FLOAT}.get(
        attribute.name, onnx.TensorProto.INT64
    )
    if attribute.name.startswith("value_string"):
        kind = onnx.TensorProto.STRING
    is_list = attribute.name.endswith("s")
    return onnx.helper.make_tensor("", kind, [len(value)] if is_list else [], value if is_list else [value])


def _text(value: str | bytes) -> str:
    """Return a string of the file; protobuf gives bytes where they are not UTF-8, which are replaced."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _dims(tensor: Any) -> tuple[int, ...]:
    return checked_shape(_text(tensor.name), tuple(map(int, tensor.dims)))


def _stored_bytes(onnx: Any, tensor: Any) -> int:
    return (prod(_dims(tensor)) * _bits(onnx, tensor.data_type) + 7) // 8


def _dtype(onnx: Any, code: int) -> str:
    """Return numpy's name of an ONNX element type; `undefined` for none."""
    if code == onnx.TensorProto.UNDEFINED:
        return "undefined"
    name = str(onnx.helper.tensor_dtype_to_np_dtype(code))
    return "string" if name == "object" else name


def _bits(onnx: Any, code: int) -> int:
    name = _dtype(onnx, code)
    if name in ("string", "undefined"):
        return 0
    if name.endswith("int4") or name.startswith("float4"):
        return 4
    if name.endswith("int2"):
        return 2
    return int(onnx.helper.tensor_dtype_to_np_dtype(code).itemsize) * 8


def _close_sizes(model: Any, constants: Mapping[str, Any], path: Path, sizes: tuple[int, ...]) -> None:
    """Set the open batch of every input to 1, and other open sizes of the first one to *sizes*.

    Raises:
        EdgecnnError: another size is open.
    """
    closed = False
    inputs = [value for value in model.graph.input if value.name not in constants]
    for number, value in enumerate(inputs):
        dimensions = value.type.tensor_type.shape.dim
        given = (1, *sizes) if number == 0 and len(dimensions) == len(sizes) + 1 else (1,)
        for position, dimension in enumerate(dimensions):
            if dimension.dim_value > 0:
                continue
            if position >= len(given):
                name = dimension.dim_param or "?"
                raise EdgecnnError(
                    f"{path}: input '{value.name}' has an open dimension {position} ({name}); export with a fixed one, "
                    "or give edgecnn export --input 1x3x224x224"
                )
            dimension.dim_value = given[position]
            closed = closed or position > 0
    if closed:  # what the file says of other shapes has open sizes too
        model.graph.ClearField("value_info")
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


def _shapes_of(onnx: Any, model: Any) -> _Shapes:
    """Return name → (shape, dtype) of every value whose shape the file gives or inference finds."""
    shapes = _stated_shapes(onnx, model)
    produced = {name for node in model.graph.node for name in node.output if name}
    if produced <= shapes.keys():
        return shapes
    for tensor in model.graph.initializer:
        if _stored_bytes(onnx, tensor) > _SHAPE_VALUE_BYTES:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
    return {**shapes, **_stated_shapes(onnx, onnx.shape_inference.infer_shapes(model))}


def _stated_shapes(onnx: Any, model: Any) -> _Shapes:
    graph = model.graph
    return {
        value.name: (
            # What is still open depends on the data or is the batch.
            checked_shape(_text(value.name), tuple(max(int(size.dim_value), 1) for size in tensor_type.shape.dim)),
            _dtype(onnx, tensor_type.elem_type),
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if (tensor_type := value.type.tensor_type).HasField("shape")
    }


def _quantization(metadata: Mapping[str, bytes], path: Path) -> dict[str, QuantParams]:
    """Return tensor name → scale and zero point, as the exporter wrote them into the metadata `edgecnn`."""
    where = f"{path}: metadata"
    table = convert(Mapping[str, Any], parse_json(metadata.get("edgecnn", b"{}"), where), where)
    found = convert(Mapping[str, QuantParams] | None, table.get("quantization"), f"{where}.quantization")
    return dict(found or {})


def _tensor(
    onnx: Any,
    name: str,
    stated: tuple[tuple[int, ...], str] | None,
    stored_bytes: int | None,
    quant: QuantParams | None,
) -> Tensor:
    shape, dtype = stated or ((), "undefined")
    name = _text(name)
    if stored_bytes is None:
        code = onnx.TensorProto.UNDEFINED if dtype in ("undefined", "string") else _code(onnx, dtype)
        return Tensor(name, shape, dtype, quant, size_bytes=(prod(shape) * _bits(onnx, code) + 7) // 8)
    return Tensor(name, shape, dtype, quant, constant=True, size_bytes=stored_bytes)


def _code(onnx: Any, dtype: str) -> int:
    return next(int(code) for code in onnx.TensorProto.DataType.values() if code and _dtype(onnx, code) == dtype)


def _operator(node: Any, index: Mapping[str, int], shapes: _Shapes) -> Operator:
    options = {}
    for attribute in node.attribute:
        if attribute.type == attribute.INT:
            options[attribute.name] = attribute.i
        elif attribute.name in ("strides", "dilations", "kernel_shape") and len(attribute.ints) == 2:
            stem = {"strides": "stride", "dilations": "dilation", "kernel_shape": "filter"}[attribute.name]
            options[f"{stem}_h"], options[f"{stem}_w"] = attribute.ints
    outputs = [name for name in node.output if name]
    return Operator(
        kind=_text(node.op_type),
        inputs=tuple(index[name] if name else -1 for name in node.input),
        outputs=tuple(index[name] for name in outputs),
        macs=_macs(node, options, shapes),
        options=options,
        name=_text(node.name or (outputs[0] if outputs else "")),
    )


#: Operator → where its weights (or right-hand matrix) stand among its inputs; weights are [O, I / groups, *kernel].
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "QLinearConv": 3}
_PRODUCTS = {
    "DynamicQuantizeMatMul": 1,
    "FusedGemm": 1,
    "FusedMatMul": 1,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "QGemm": 3,
    "QLinearMatMul": 3,
}


def _macs(node: Any, options: Mapping[str, int], known: _Shapes) -> int:
    """Return the multiply-adds of one operator; a product [.., M, K] x [.., K, N] takes K for each value of it."""
    kind = node.op_type
    shapes = {name: known[name][0] for name in (*node.input, *node.output[:1]) if name in known}
    inputs = [shapes.get(name, ()) for name in node.input]
    produced = prod(shapes.get(node.output[0], ())) if node.output else 0
    if kind in _CONVOLUTIONS and len(inputs) > _CONVOLUTIONS[kind]:
        return produced * prod(inputs[_CONVOLUTIONS[kind]][1:])
    if kind == "ConvTranspose" and len(inputs) > 1:
        return prod(inputs[0]) * prod(inputs[1][1:])  # weights [I, O / groups, *kernel]: each input value meets them
    if kind in _PRODUCTS and len(inputs) > _PRODUCTS[kind]:
        left = inputs[0]
        return produced * prod(left[:1] if options.get("transA") else left[-1:])
    return 0
