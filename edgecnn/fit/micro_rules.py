"""The rules of TFLite Micro's kernels; the docstring of each is what a user reads.

Each stands in the `Prepare` or `Eval` function of a kernel, in the file of `tensorflow/lite/micro/kernels` (of
tensorflow/tflite-micro) that it names, and is held to the interpreter of the package `tflite-micro` 0.dev20261023 by
tests, operator by operator and type by type. Rules are no looser than the kernels; where a kernel accepts a mixture
that no converter writes (an output of another type than the input, say), they are stricter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2

from edgecnn.fit.call import Call
from edgecnn.formats import Tensor

#: A call → whether its kernel accepts it; the docstring says what the kernel asks for.
Rule = Callable[[Call], bool]

_QUANTIZED = frozenset({"int8", "int16", "uint8"})
_NO_SIZE = frozenset({"string", "resource", "variant"})


def _listed(names: Sequence[str]) -> str:
    return " or ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


def sized(call: Call) -> bool:
    """Strings are not supported (ConvertTensorType)."""
    handles = call.kind in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")
    return handles or not any(tensor.dtype in _NO_SIZE for tensor in (*call.given, *call.outputs))


def without_zeros(call: Call) -> bool:
    """Outputs with a dimension of 0 are not supported (CheckDynamicTensors)."""
    return all(0 not in tensor.shape or tensor.shape == (0,) for tensor in call.outputs)


def of(*types: str, at: int = 0) -> Rule:
    """Return the rule that an input is of one of *types*."""

    def rule(call: Call) -> bool:
        tensor = call.input(at)
        return tensor is not None and tensor.dtype in types

    which = ("Its kernel takes", "Its second input must be", "Its third input must be")[at]
    rule.__doc__ = f"{which} {_listed(types)}"
    return rule


def gives(*types: str) -> Rule:
    """Return the rule that every output is of one of *types*."""

    def rule(call: Call) -> bool:
        return all(tensor.dtype in types for tensor in call.outputs)

    rule.__doc__ = f"Its output must be {_listed(types)}"
    return rule


def same(call: Call) -> bool:
    """Inputs and outputs must have one type."""
    first = call.given[0].dtype
    return all(tensor.dtype == first for tensor in call.outputs)


def gives_type_of_image(call: Call) -> bool:
    """Its output must have the type of its third input, the image (transpose_conv.cc)."""
    image = call.input(2)
    return image is not None and all(tensor.dtype == image.dtype for tensor in call.outputs)


def alike(call: Call) -> bool:
    """Its first two inputs must have one type."""
    return len({tensor.dtype for tensor in call.given[:2]}) == 1


def pairs(kinds: Mapping[str, tuple[str, ...]], at: int = 0, weights: int = 1) -> Rule:
    """Return the rule that inputs of each type go with weights of some."""

    def rule(call: Call) -> bool:
        image, filters = call.input(at), call.input(weights)
        return image is not None and filters is not None and filters.dtype in kinds.get(image.dtype, ())

    known = [name if found == (name,) else f"{name} with {_listed(found)} weights" for name, found in kinds.items()]
    rule.__doc__ = f"Its kernel takes {_listed(known)}, no other mixture (hybrid models are not supported)"
    return rule


def quantized(call: Call) -> bool:
    """Integer inputs and outputs must have a scale and a zero point."""
    tensors = [call.given[0], *([call.given[1]] if len(call.given) > 1 and not _is_index(call.given[1]) else [])]
    return all(tensor.quant is not None for tensor in (*tensors, *call.outputs) if tensor.dtype in _QUANTIZED)


def _is_index(tensor: Tensor) -> bool:
    return tensor.dtype in ("int32", "int64")


def constant(*places: int) -> Rule:
    """Return the rule that the inputs at *places* are stored in the file."""

    def rule(call: Call) -> bool:
        return all(tensor is None or tensor.constant for tensor in map(call.input, places))

    rule.__doc__ = f"Its input {_listed([str(place) for place in places])} must be a constant of the file"
    return rule


def index(place: int) -> Rule:
    """Return the rule that the input at *place* holds int32."""

    def rule(call: Call) -> bool:
        tensor = call.input(place)
        return tensor is None or tensor.dtype == "int32"

    rule.__doc__ = f"Its input {place} must be int32"
    return rule


def rank(least: int, most: int) -> Rule:
    """Return the rule that its first input has so many dimensions."""

    def rule(call: Call) -> bool:
        return least <= len(call.given[0].shape) <= most

    rule.__doc__ = f"Its input must have {least if least == most else f'at most {most}'} dimensions"
    return rule


def broadcast_rank(most: int) -> Rule:
    """Return the rule that inputs of different shapes have at most *most* dimensions."""

    def rule(call: Call) -> bool:
        shapes = {tensor.shape for tensor in call.given}
        return len(shapes) == 1 or max(map(len, shapes), default=0) <= most

    rule.__doc__ = f"Inputs of different shapes must have at most {most} dimensions"
    return rule


def ten_inputs(call: Call) -> bool:
    """CONCATENATION takes at most 10 inputs (kMaxInputNum, concatenation.cc)."""
    return len(call.inputs) <= 10


def one_scale(call: Call) -> bool:
    """int8 inputs and output must have one scale and zero point: there is no requantization (concatenation.cc)."""
    tensors = (*call.given, *call.outputs)
    if call.outputs[0].dtype != "int8":
        return True
    return len({None if t.quant is None else (t.quant.scale[0], t.quant.zero_point[0]) for t in tensors}) == 1


def inputs_of_one_scale(call: Call) -> bool:
    """int8 inputs must have one scale and zero point (add_n.cc)."""
    if call.given[0].dtype != "int8":
        return True
    return len({None if t.quant is None else (t.quant.scale[0], t.quant.zero_point[0]) for t in call.given}) == 1


def begins_and_sizes(call: Call) -> bool:
    """Its begin and size must have one type and an entry for each dimension (slice.cc)."""
    begin, size = call.input(1), call.input(2)
    if begin is None or size is None or begin.dtype != size.dtype or begin.dtype not in ("int32", "int64"):
        return False
    return begin.shape == size.shape == (len(call.given[0].shape),)


def no_activation(call: Call) -> bool:
    """CONCATENATION with a fused activation is not supported (concatenation.cc)."""
    return call.options.get("activation", 0) == 0


def channel_scales(axis: int, weights: int = 1) -> Rule:
    """Return the rule that quantized weights have a scale, or one a channel."""

    def rule(call: Call) -> bool:
        image, filters = call.given[0 if weights == 1 else -1], call.input(weights)
        if filters is None or filters.dtype == "float32" or image.dtype == "float32":
            return True
        return filters.quant is not None and len(filters.quant.scale) in (1, filters.shape[axis])

    rule.__doc__ = "Its weights must have one scale, or one for each output channel (kernel_util.cc)"
    return rule


def images(*places: int) -> Rule:
    """Return the rule that inputs are batches of images."""

    def rule(call: Call) -> bool:
        return all(tensor is not None and len(tensor.shape) == 4 for tensor in map(call.input, places))

    rule.__doc__ = "Its image and its weights must have 4 dimensions"
    return rule


def ends_have_scales(image: int) -> Rule:
    """Return the rule that a convolution's integer image and result have a scale."""

    def rule(call: Call) -> bool:
        tensors = (call.input(image), *call.outputs)
        return all(tensor is None or tensor.dtype == "float32" or tensor.quant is not None for tensor in tensors)

    rule.__doc__ = "Integer inputs and outputs must have a scale and a zero point (kernel_util.cc)"
    return rule


def no_listed_gap(call: Call) -> bool:
    """A bias that is left out must not be listed as -1 (depthwise_conv.cc reads it)."""
    return all(tensor is not None for tensor in call.inputs)


def bias_has_product_scale(call: Call) -> bool:
    """Its bias must have the scale of its input times that of its weights (kernel_util.cc)."""
    image, weights, bias, output = call.given[0], call.input(1), call.input(2), call.outputs[0]
    if image.dtype == "float32" or weights is None:
        return True
    if image.quant is None or weights.quant is None or output.quant is None:
        return False
    if bias is None or len(weights.quant.scale) > 1:
        return True
    if bias.quant is None:
        return False
    wanted = image.quant.scale[0] * weights.quant.scale[0]
    return abs(wanted - bias.quant.scale[0]) <= 0.02 * output.quant.scale[0]


def same_scale(call: Call) -> bool:
    """Integer inputs and outputs must have the same scale and zero point."""
    one, other = call.given[0], call.outputs[0]
    if one.dtype not in _QUANTIZED:
        return True
    if one.quant is None or other.quant is None:
        return False
    near = abs(one.quant.scale[0] - other.quant.scale[0]) <= 1e-6
    return near and one.quant.zero_point[0] == other.quant.zero_point[0]


def output_params(**kinds: tuple[float | None, int]) -> Rule:
    """Return the rule that an output of each type has this scale (None: any) and zero point."""

    def rule(call: Call) -> bool:
        output = call.outputs[0]
        if output.dtype not in kinds:
            return True
        scale, zero_point = kinds[output.dtype]
        if output.quant is None or output.quant.zero_point[0] != zero_point:
            return False
        return scale is None or abs(output.quant.scale[0] - scale) <= 0.001 * scale

    wanted = [
        f"{name} output must have zero point {zero}" + ("" if scale is None else f" and scale 2^{round(log2(scale))}")
        for name, (scale, zero) in kinds.items()
    ]
    rule.__doc__ = f"Its {_listed(wanted)}"
    return rule


def symmetric_int16(call: Call) -> bool:
    """int16 inputs and outputs must have zero point 0."""
    tensors = (*call.given[:2], *call.outputs)
    return all(t.quant is None or t.quant.zero_point[0] == 0 for t in tensors if t.dtype == "int16")


#: SOFTMAX: types of its input and output → scale and zero point of the output (softmax_common.cc).
_SOFTMAX = {
    ("int8", "int8"): (2**-8, -128),
    ("int8", "int16"): (2**-16, -32768),
    ("int16", "int16"): (2**-15, 0),
}


def softmax_output(call: Call) -> bool:
    """SOFTMAX gives int8 (scale 2^-8) or int16 (2^-16) of int8, int16 (2^-15) of int16, else float32 of float32."""
    source, output = call.given[0], call.outputs[0]
    if source.dtype == "float32":
        return output.dtype == "float32"
    scale, zero_point = _SOFTMAX.get((source.dtype, output.dtype), (0.0, 0))
    if output.quant is None or output.quant.zero_point[0] != zero_point:
        return False
    return abs(output.quant.scale[0] - scale) <= 0.001 * scale


def pads_with_own_type(call: Call) -> bool:
    """The value to pad with must have the type, scale and zero point of the input (pad_common.cc)."""
    value, output = call.input(2), call.outputs[0]
    if value is None or value.dtype != call.given[0].dtype:
        return False
    return value.dtype != "int8" or value.quant == output.quant


def fills_with_own_type(call: Call) -> bool:
    """The value to fill with must have the type of the output (fill.cc)."""
    value = call.input(1)
    return value is not None and value.dtype == call.outputs[0].dtype


def looks_up(call: Call) -> bool:
    """The table must be float32 or int8, and the output of its type or float32 (embedding_lookup.cc)."""
    table, output = call.input(1), call.outputs[0]
    kinds = {("float32", "float32"), ("int8", "int8"), ("int8", "float32")}
    return table is not None and (table.dtype, output.dtype) in kinds


def casts(call: Call) -> bool:
    """CAST takes and gives float32, int8, int16, int32 or bool, and turns int32 into uint32 and back (cast.cc)."""
    source, result = call.given[0].dtype, call.outputs[0].dtype
    plain = {"float32", "int8", "int16", "int32", "bool"}
    return (source in plain and result in plain) or {source, result} <= {"int32", "uint32"}


#: QUANTIZE: type of the input → of the output (quantize_common.cc).
_QUANTIZES = {
    "float32": ("int8", "int16"),
    "int8": ("int8", "uint8", "int16", "int32"),
    "int16": ("int8", "int16", "int32"),
    "int32": ("int8", "int16"),
    "uint8": ("int8",),
}


def quantizes(call: Call) -> bool:
    """QUANTIZE has no kernel from this type to that of its output, or its output lacks a scale (quantize_common.cc)."""
    output = call.outputs[0]
    return output.dtype in _QUANTIZES.get(call.given[0].dtype, ()) and output.quant is not None


def svdf_types(call: Call) -> bool:
    """SVDF takes float32, or int8 with int8 or int16 time weights and state, and needs a bias (svdf_common.cc)."""
    if len(call.inputs) != 5 or any(tensor is None for tensor in call.inputs):
        return False
    image, features, time, _, state = call.given
    if image.dtype == "float32":
        return {features.dtype, time.dtype, state.dtype} == {"float32"}
    return image.dtype == features.dtype == "int8" and {time.dtype, state.dtype} <= {"int8", "int16"}


def svdf_bias(call: Call) -> bool:
    """SVDF's bias must have the scale of its state times that of its time weights (svdf_common.cc)."""
    if call.given[0].dtype == "float32":
        return True
    _, _, time, bias, state = call.given
    if time.quant is None or bias.quant is None or state.quant is None:
        return False
    return abs(bias.quant.scale[0] - state.quant.scale[0] * time.quant.scale[0]) < 1e-5


def state(*places: int) -> Rule:
    """Return the rule that inputs are variable tensors."""

    def rule(call: Call) -> bool:
        return all(tensor is not None and tensor.variable for tensor in map(call.input, places))

    rule.__doc__ = "Its state must be a variable tensor"
    return rule


def plain_lstm(call: Call) -> bool:
    """The LSTM takes 24 inputs without peephole, projection, CIFG and layer norm (lstm_eval_common.cc)."""
    needed = (*range(9), *range(12, 16), 18, 19)
    given = {place for place, tensor in enumerate(call.inputs) if tensor is not None}
    return len(call.inputs) == 24 and given == set(needed)


def lstm_types(call: Call) -> bool:
    """The LSTM takes float32, or int8 or int16 with int8 weights and an int16 cell state (lstm_eval_common.cc)."""
    image, cell = call.given[0].dtype, call.inputs[19]
    weights = {tensor.dtype for tensor in call.inputs[1:9] if tensor is not None}
    if image == "float32":
        return weights == {"float32"}
    return image in ("int8", "int16") and weights == {"int8"} and cell is not None and cell.dtype == "int16"


def detects(call: Call) -> bool:
    """The boxes must be float32 [1, N, 4], the scores [1, N, classes] (detection_postprocess.cc)."""
    if len(call.given) != 3 or len(call.outputs) != 4:
        return False
    boxes, scores, anchors = call.given
    ranks = (len(boxes.shape), len(scores.shape), len(anchors.shape)) == (3, 3, 2)
    return ranks and boxes.shape[0] == 1 and {boxes.dtype, scores.dtype, anchors.dtype} == {"float32"}


def same_bytes(call: Call) -> bool:
    """Input and output must have the same number of bytes."""
    return call.given[0].size_bytes == call.outputs[0].size_bytes or call.given[0].constant


def same_sides(call: Call) -> bool:
    """Both sides must have one type: no int8 weights beside int16 or float32 (batch_matmul.cc)."""
    return call.given[0].dtype == call.given[1].dtype == call.outputs[0].dtype
