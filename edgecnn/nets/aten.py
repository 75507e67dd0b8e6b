"""The operators that an exported program may use: torch's own `aten`, on tensors, numbers and a few known words."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edgecnn.errors import EdgecnnError

#: Number of a dtype in the schema (`ScalarType`) → the dtype.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_LAYOUTS = {7: torch.strided}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}

#: What a program computes with sizes, whole numbers.
_ON_SIZES: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "eq", "floordiv", "ge", "gt", "le", "lt", "mod", "mul", "ne", "neg", "sub")
}

#: Operators beside those that torch calls core (`torch.Tag.core`): what is written before it is decomposed into them.
_COMPOSITE_NAMES = (
    "absolute adaptive_avg_pool2d adaptive_max_pool2d addcdiv addcmul alpha_dropout arctan avg_pool3d baddbmm "
    "batch_norm broadcast_to celu channel_shuffle chunk clamp_max clamp_min concat concatenate constant_pad_nd "
    "contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity "
    "count_nonzero cross cumprod detach diff divide dot dropout einsum empty_like erfc exp2 expand_as eye "
    "feature_dropout flatten floor_divide frac glu greater greater_equal group_norm hardsigmoid hardswish "
    "hstack instance_norm isfinite layer_norm less less_equal lerp lift_fresh lift_fresh_copy "
    "linalg_vector_norm linear linspace log_sigmoid log_softmax logaddexp logsumexp masked_fill matmul "
    "max_pool1d max_pool2d max_pool3d mish moveaxis movedim mse_loss multiply narrow negative new_empty "
    "new_full new_ones new_zeros norm not_equal numpy_T one_hot ones ones_like outer pad pairwise_distance "
    "pixel_shuffle pixel_unshuffle prelu ravel relu6 repeat_interleave reshape reshape_as rms_norm roll rot90 "
    "rsub scaled_dot_product_attention selu silu softmax softplus softshrink split square stack std std_mean "
    "subtract swapaxes swapdims t tensor_split threshold tile to transpose tril triu true_divide type_as "
    "unbind unflatten unfold upsample_bicubic2d upsample_linear1d upsample_nearest1d upsample_nearest3d "
    "upsample_trilinear3d var_mean view_as vstack zero zeros zeros_like _safe_softmax "
    "_scaled_dot_product_flash_attention_for_cpu _unsafe_view _upsample_bilinear2d_aa"
)
_COMPOSITE = frozenset(_COMPOSITE_NAMES.split())

#: Operators that only check what was true when the program was written.
_CHECKS = {
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "_functional_assert_async",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
}

#: Arguments that are words, `padding="same"` say; a file's name is none of them.
_WORDS = {
    "approximate",
    "equation",
    "indexing",
    "interpolation",
    "mode",
    "norm",
    "ord",
    "pad_mode",
    "padding",
    "reduce",
    "rounding_mode",
    "side",
}

_CPU = torch.device("cpu")  # stands for the device of the input
_LARGEST_SIZE = 2**62
_KEYWORD = 2  # `ArgumentKind` of the schema: an argument given by its name


@dataclass(frozen=True)
class _Value:
    """The name of something computed before, in the place of an argument."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operator with its arguments, and the names of what it gives."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    outputs: tuple[str, ...]  # "" for what nobody reads
    is_list: bool  # whether it gives one list, in which they are

    def run(self, values: dict[str, Any], device: torch.device) -> tuple[Any, ...]:
        """Compute it on *device* from *values*, put what comes out among them, and return it."""
        arguments = [_given(argument, values, device) for argument in self.arguments]
        keywords = {name: _given(argument, values, device) for name, argument in self.keywords.items()}
        result = self.function(*arguments, **keywords)
        made = tuple(result) if self.is_list or isinstance(result, (tuple, list)) else (result,)
        for value in made:
            if isinstance(value, int) and abs(value) > _LARGEST_SIZE:
                raise EdgecnnError(f"its {self.name} gives a size that no tensor has")
        values.update(zip(self.outputs, made, strict=False))
        return made


def _given(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(argument, _Value):
        return values[argument.name]
    if isinstance(argument, list):
        return [_given(item, values, device) for item in argument]
    return device if isinstance(argument, torch.device) else argument


def read_step(node: Mapping[str, Any]) -> Step | None:
    """Return the operator that a *node* of the schema describes; None for one that only checks.

    Raises:
        EdgecnnError: an operator, or an argument of one, that is not allowed.
    """
    target = str(node["target"])
    function = _ON_SIZES.get(target) or _operator(target)
    if function is None:
        return None
    given = [(entry, _argument(target, entry["name"], entry["arg"])) for entry in node["inputs"]]
    arguments = tuple(value for entry, value in given if entry.get("kind") != _KEYWORD)
    keywords = {entry["name"]: value for entry, value in given if entry.get("kind") == _KEYWORD}
    schema = function._schema.arguments if isinstance(function, torch._ops.OpOverload) else ()
    if any(known.name == "device" and known.kwarg_only for known in schema):
        keywords["device"] = _CPU  # said always, so that it follows the input
    outputs = [_outputs(output) for output in node["outputs"]]
    is_list = len(outputs) == 1 and "as_tensors" in node["outputs"][0]
    return Step(target, function, arguments, keywords, tuple(name for names in outputs for name in names), is_list)


def _operator(target: str) -> Callable[..., Any] | None:
    """Return the operator `torch.ops.aten.NAME.OVERLOAD`; None for one that only checks."""
    prefix, _, rest = target.partition("torch.ops.aten.")
    name, _, overload = rest.partition(".")
    if name in _CHECKS and not prefix:
        return None
    packet = getattr(torch.ops.aten, name, None) if name.isidentifier() and not prefix else None
    found = getattr(packet, overload, None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
    if isinstance(found, torch._ops.OpOverload) and _is_allowed(name):
        return found
    raise EdgecnnError(f"uses the operator {target[:100]!r}, which edgecnn does not accept from a file")


def _is_allowed(name: str) -> bool:
    """Whether the operator *name* of aten computes tensors from tensors; `relu_` is `relu` in place."""
    plain = name.removesuffix("_")
    if plain in _COMPOSITE:
        return True
    packet = getattr(torch.ops.aten, plain, None)
    overloads = packet.overloads() if isinstance(packet, torch._ops.OpOverloadPacket) else ()  # type: ignore[no-untyped-call]
    return any(torch.Tag.core in getattr(packet, overload).tags for overload in overloads)


def _argument(target: str, name: str, argument: Mapping[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    if kind == "as_none":
        return None
    if kind == "as_string":
        if name not in _WORDS or not isinstance(value, str):
            raise EdgecnnError(f"gives {target} the text {str(value)[:60]!r} for {name[:40]!r}")
        return value
    read = _READERS.get(kind)
    if read is None:
        raise EdgecnnError(
            f"gives {target} something of the kind {kind[:40]!r}, which edgecnn does not accept from a file"
        )
    return read(value)


def _number(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if kind is float and value in ("Infinity", "-Infinity", "NaN"):
            return float(value)
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return value
        if kind is float and isinstance(value, int):
            return float(value)
        raise EdgecnnError(f"has {str(value)[:60]!r} where a number is expected")

    return read


def _size(value: Mapping[str, Any]) -> Any:
    return _Value(str(value["as_name"])) if "as_name" in value else _number(int)(value["as_int"])


def _tensor(value: Mapping[str, Any]) -> _Value:
    return _Value(str(value["name"]))


def _optional_tensor(value: Mapping[str, Any]) -> _Value | None:
    return None if "as_none" in value else _tensor(value["as_tensor"])


def _each(read: Callable[[Any], Any]) -> Callable[[Iterable[Any]], list[Any]]:
    return lambda values: [read(value) for value in values]


#: Kind of an argument in the schema → what reads it.
_READERS: dict[str, Callable[[Any], Any]] = {
    "as_tensor": _tensor,
    "as_tensors": _each(_tensor),
    "as_optional_tensor": _optional_tensor,
    "as_optional_tensors": _each(_optional_tensor),
    "as_int": _number(int),
    "as_ints": _each(_number(int)),
    "as_float": _number(float),
    "as_floats": _each(_number(float)),
    "as_bool": _number(bool),
    "as_bools": _each(_number(bool)),
    "as_sym_int": _size,
    "as_sym_ints": _each(_size),
    "as_sym_bool": lambda value: _Value(str(value["as_name"])) if "as_name" in value else bool(value["as_bool"]),
    "as_scalar_type": DTYPES.__getitem__,
    "as_layout": _LAYOUTS.__getitem__,
    "as_memory_format": _MEMORY_FORMATS.__getitem__,
    "as_device": lambda _: _CPU,
}


def _outputs(output: Mapping[str, Any]) -> list[str]:
    ((kind, value),) = output.items()
    if kind in ("as_tensor", "as_optional_tensor"):
        return [str(value.get("as_tensor", value).get("name", ""))]
    if kind == "as_tensors":
        return [str(one["name"]) for one in value]
    if kind in ("as_sym_int", "as_sym_bool"):
        return [str(value.get("as_name", ""))]
    if kind == "as_none":
        return [""]
    raise EdgecnnError(f"has an operator that gives something of the kind {kind[:40]!r}")
