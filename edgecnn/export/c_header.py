"""The facts of `Firmware` as C: a source file with the model, and a header with all that firmware needs around it.

Both compile as C11 and as C++11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from edgecnn.export.firmware import Firmware, PixelLine
from edgecnn.formats import TensorSpec

_C_TYPES = {
    "float32": "float",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def c_source(firmware: Firmware, content: bytes, header: str) -> str:
    """Return the C source file of a model, *content* its bytes; *header* is the name of what `c_header` gives."""
    rows = [", ".join(f"0x{byte:02x}" for byte in content[i : i + 16]) for i in range(0, len(content), 16)]
    symbol = firmware.symbol
    text = [
        f'#include "{header}"',
        "",
        "#ifndef __cplusplus",
        "#include <stdalign.h>",
        "#endif",
        "",
        # TFLite Micro reads the flatbuffer in place: it wants 16-byte alignment, and const keeps it in flash.
        f"alignas(16) const unsigned char {symbol}[] = {{\n  " + ",\n  ".join(rows) + "\n};",
        f"const unsigned int {symbol}_len = {len(content)};",
    ]
    if firmware.labels:
        labels = ",\n  ".join(_text(label) for label in firmware.labels)
        text += ["", f"const char *const {symbol}_labels[{len(firmware.labels)}] = {{\n  {labels}\n}};"]
    return "\n".join(text) + "\n"


def c_header(firmware: Firmware) -> str:
    """Return the C header that goes with `c_source`."""
    symbol = firmware.symbol
    guard = f"{symbol.upper()}_H_"
    parts = [
        [
            "/* The model: give its address to tflite::GetModel. */",
            f"extern const unsigned char {symbol}[];",
            f"extern const unsigned int {symbol}_len;",
        ],
        *(_tensor(firmware, "input", number, spec) for number, spec in enumerate(firmware.inputs)),
        list(_pixel(symbol, firmware.pixel)) if firmware.pixel else [],
        *(_tensor(firmware, "output", number, spec) for number, spec in enumerate(firmware.outputs)),
        _labels(firmware),
        _operators(firmware),
        _arena(firmware),
    ]
    opening = [f"#ifndef {guard}", f"#define {guard}", "", "#include <stdbool.h>", "#include <stdint.h>"]
    return "\n".join(
        [
            *opening,
            *("", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""),
            "\n\n".join("\n".join(part) for part in parts if part),
            *("", "#ifdef __cplusplus", '}  /* extern "C" */', "#endif", ""),
            f"#endif  /* {guard} */",
            "",
        ]
    )


def _tensor(firmware: Firmware, kind: str, number: int, spec: TensorSpec) -> list[str]:
    """Return the declarations of one input or output."""
    count = len(firmware.inputs if kind == "input" else firmware.outputs)
    name = f"{firmware.symbol}_{kind}" + (str(number) if count > 1 else "")
    layout = " (batch, height, width, channels)" if len(spec.shape) == 4 else ""
    shape = "x".join(map(str, spec.shape))
    lines = [f"/* {kind.capitalize()} {number}: {shape}{layout}, {spec.dtype}. */"]
    if spec.dtype in _C_TYPES:
        lines.append(f"typedef {_C_TYPES[spec.dtype]} {name}_t;")
    lines += [
        f"enum {{ {name}_size = {prod(spec.shape)} }};",
        f"static const int {name}_shape[{max(1, len(spec.shape))}] = {{{', '.join(map(str, spec.shape or (1,)))}}};",
    ]
    if spec.quant is not None and len(spec.quant.scale) == 1:
        formula = f"real = {name}_scale * (stored - {name}_zero_point)"
        lines += [
            f"/* {formula} */",
            f"static const float {name}_scale = {_float(spec.quant.scale[0])};",
            f"enum {{ {name}_zero_point = {spec.quant.zero_point[0]} }};",
        ]
    return lines


def _pixel(symbol: str, line: PixelLine) -> Iterator[str]:
    """Yield the function that turns a pixel into an input value."""
    many = len(line.multiplier) > 1
    channel = ", int channel" if many else ""
    yield "/* A pixel (0 to 255) as the input wants it: normalization and quantization in one. */"
    yield f"static inline {_C_TYPES[line.dtype]} {symbol}_pixel(uint8_t pixel{channel}) {{"
    yield from (f"  {text}" for text in _body(line, many=many))
    yield "}"


def _body(line: PixelLine, *, many: bool) -> Iterator[str]:
    kind = _C_TYPES[line.dtype]
    if line.dtype == "float32":
        names, texts = zip(*_entries(line.multiplier, line.offset, "float", many=many), strict=True)
        yield from (text for text in texts if text)
        yield f"return {names[0]} * (float)pixel + {names[1]};"
        return
    limits = np.iinfo(line.dtype)
    low, high = line.table().min(), line.table().max()
    if line.whole is not None:
        ((offset, text),) = _entries((), line.whole, "int32_t", many=many)
        if text:
            yield text
        value = f"pixel + {offset}" if many or line.whole[0] >= 0 else f"pixel - {-line.whole[0]}"
        clamped = 0 + min(line.whole) < limits.min or 255 + max(line.whole) > limits.max
    else:
        multipliers, offsets, shift, bias = line.fixed_point
        (multiplier, first), (offset, second) = _entries(multipliers, offsets, "int32_t", many=many)
        yield from (text for text in (first, second) if text)
        value = f"(({multiplier} * pixel + {offset}) >> {shift})" + (f" - {bias}" if bias else "")
        clamped = low <= limits.min or high >= limits.max
    if not clamped:
        yield f"return ({kind})({value});"
        return
    yield f"int32_t value = {value};"
    yield f"return ({kind})(value < {limits.min} ? {limits.min} : value > {limits.max} ? {limits.max} : value);"


def _entries(
    multiplier: Sequence[float], offset: Sequence[float], kind: str, *, many: bool
) -> Iterator[tuple[str, str]]:
    """Yield how each number is written in C, and the line that declares it before; "" where it needs none."""
    for name, entries in (("multiplier", multiplier), ("offset", offset)):
        texts = [_float(entry) if kind == "float" else str(entry) for entry in entries]
        if texts and many:
            yield f"{name}[channel]", f"static const {kind} {name}[{len(texts)}] = {{{', '.join(texts)}}};"
        elif texts:
            yield texts[0], ""


def _labels(firmware: Firmware) -> list[str]:
    if not firmware.labels:
        return []
    symbol, count = firmware.symbol, len(firmware.labels)
    return [
        "/* The names of the classes, in the order of the output. */",
        f"enum {{ {symbol}_label_count = {count} }};",
        f"extern const char *const {symbol}_labels[{count}];",
    ]


def _operators(firmware: Firmware) -> list[str]:
    symbol = firmware.symbol
    macro = f"{symbol.upper()}_ADD_OPERATORS"
    calls = " \\\n".join(f"    (resolver).{method}();" for method in firmware.operators)
    return [
        "/* The operators of the model:",
        f"     tflite::MicroMutableOpResolver<{symbol}_operator_count> resolver;",
        f"     {macro}(resolver); */",
        f"enum {{ {symbol}_operator_count = {len(firmware.operators)} }};",
        f"#define {macro}(resolver) \\\n  do {{ \\\n{calls} \\\n  }} while (0)",
    ]


def _arena(firmware: Firmware) -> list[str]:
    if not firmware.arena_bytes:
        return []
    symbol = firmware.symbol
    alone = {pointer: f"enum {{ {symbol}_arena_size = {size} }};" for pointer, size in firmware.arena_bytes.items()}
    return [
        f"/* The tensor arena: alignas(16) static uint8_t arena[{symbol}_arena_size];",
        "   Estimated by edgecnn fit. On a Cortex-M it holds with CMSIS-NN's kernels and with TFLite Micro's own; on a",
        "   64-bit computer, where pointers are longer, with TFLite Micro's own. */",
        *(f"/* Not counted: {text.replace('*/', '* /')}. */" for text in firmware.warnings),
        "#if UINTPTR_MAX > 0xffffffffu",
        alone[8],
        "#else",
        alone[4],
        "#endif",
    ]


def _float(value: float) -> str:
    """Return a float32 as C writes it, with all its digits."""
    text = f"{np.float32(value):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _text(label: str) -> str:
    """Return a string as C writes it, in UTF-8: what is not plain ASCII as octal, so that any compiler reads it."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in label.encode())
    return f'"{"".join(plain)}"'
