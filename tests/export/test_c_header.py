"""The C source and header of a file: both languages compile them, and say what the facts and numpy say."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgecnn.export.c_header import c_header, c_source
from edgecnn.export.firmware import Firmware, PixelLine, _method
from edgecnn.fit.micro_support import RULES
from edgecnn.formats import QuantParams, TensorSpec
from edgecnn.normalization import Normalization

CONTENT = bytes(range(256)) * 3 + b"\x00end"
LABELS = ("plain", 'a "b" \\ c??)', "naïve 猫", "1\n2")
LANGUAGES = [
    pytest.param(("gcc", "-std=c11", "-xc"), id="C"),
    pytest.param(("g++", "-std=c++11", "-xc++"), id="C++"),
]
#: (normalization, dtype, scale, zero point): what recipes and data sets bring, and what is unusual.
INPUTS = [
    ("unit", "int8", 1 / 255, -128),
    ("pixels", "int8", 1.0, -128),
    ("pixels", "uint8", 1.0, 0),
    ("mean=0.5,std=0.5", "int8", 2 / 255, -1),
    ("imagenet", "int8", 0.018658448, -14),
    ("imagenet", "int8", 0.01, 3),  # pixels beyond the range
    ("mean=0.1307,std=0.3081", "int8", 0.012728, -95),
    ("mean=0.1,0.2,0.3,std=0.5,1,1.5", "int16", 0.0001, 0),
    ("unit", "int8", 40.0, 100),  # a step is more than all pixels
    ("imagenet", "float32", None, None),
    ("unit", "float32", None, None),
]


def spec_of(dtype: str, scale: float | None, zero_point: int | None, channels: int) -> TensorSpec:
    """Return an image input."""
    quant = None if scale is None or zero_point is None else QuantParams((scale,), (zero_point,))
    return TensorSpec("x", (1, 4, 5, channels), dtype, quant)


def firmware_of(number: int) -> Firmware:
    """Return the facts of a file that has the input of that number."""
    text, dtype, scale, zero_point = INPUTS[number]
    normalization = Normalization.parse(text)
    spec = spec_of(dtype, scale, zero_point, max(3, len(normalization.mean)))
    output = TensorSpec("y", (1, 4), "int8", QuantParams((0.25,), (7,)))
    operators = ("AddConv2D", "AddFullyConnected", "AddSoftmax")
    return Firmware(
        f"g_net{number}",
        (spec,),
        (output,),
        PixelLine.of(spec, normalization),
        LABELS,
        operators,
        {4: 5000 + number, 8: 7000 + number},
        ("what NEW takes is unknown and not counted: set a larger one",),
    )


@dataclass(frozen=True)
class Built:
    """What the compiled program printed, by number of its input."""

    facts: list[list[str]]
    pixels: list[npt.NDArray[np.float64]]


@pytest.fixture(scope="module", params=LANGUAGES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Compile all inputs' sources and headers into one program, with every warning an error, and run it."""
    compiler, *flags = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    folder = tmp_path_factory.mktemp("firmware")
    program = ["#include <stdio.h>"]
    body = []
    for number in range(len(INPUTS)):
        facts, name = firmware_of(number), f"net{number}.h"
        (folder / name).write_text(c_header(facts))
        (folder / f"net{number}.cc").write_text(c_source(facts, CONTENT, name))
        program.append(f'#include "{name}"')
        body.append(_prints(facts))
    (folder / "main.cc").write_text("\n".join([*program, "int main(void) {", *body, "return 0; }"]))
    sources = [path.name for path in sorted(folder.glob("*.cc"))]
    line = [compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", "program", *sources]
    subprocess.run(line, cwd=folder, check=True, capture_output=True, text=True)
    printed = subprocess.run([folder / "program"], check=True, capture_output=True, text=True).stdout.split("NET\n")[1:]
    facts_of, pixels_of = zip(*(part.split("PIXELS\n") for part in printed), strict=True)
    return Built([text.split("\n") for text in facts_of], [np.array(text.split(), float) for text in pixels_of])


def _prints(facts: Firmware) -> str:
    """Return the C statements that print what the header of *facts* says."""
    s, line = facts.symbol, facts.pixel
    assert line is not None
    entries = len(line.multiplier)
    call = f"{s}_pixel((uint8_t)p{', c' if entries > 1 else ''})"
    nothing = r'printf("\n");'
    quant = f'printf("%.9g %d\\n", (double){s}_input_scale, (int){s}_input_zero_point);'
    return f"""
    {{ unsigned i; int p, c; unsigned char arena[{s}_arena_size]; {s}_input_t value = 0; {s}_output_t out = 0;
    printf("NET\\n");
    for (i = 0; i < {s}_len; i++) printf("%02x", {s}[i]);
    printf("\\n%d\\n", (int)((uintptr_t){s} % 16));
    for (i = 0; i < 4; i++) printf("%d ", {s}_input_shape[i]);
    printf("%d %d\\n", (int){s}_input_size, (int)sizeof value);
    printf("%d %d %.9g %d\\n", {s}_output_shape[1], (int)sizeof out, (double){s}_output_scale,
           (int){s}_output_zero_point);
    printf("%d %d\\n", (int)sizeof arena, (int){s}_operator_count);
    {quant if line.dtype != "float32" else nothing}
    for (i = 0; i < {s}_label_count; i++) {{
      const char *at = {s}_labels[i];
      while (*at) printf("%02x", (unsigned char)*at++);
      printf(" ");
    }}
    printf("\\nPIXELS\\n");
    for (c = 0; c < {entries}; c++) for (p = 0; p < 256; p++) printf("%.9g ", (double){call});
    }}"""


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_constants_and_bytes_are_those_of_the_facts(built: Built, number: int) -> None:
    """Model, alignment, shapes, types, scales, zero points, arena and labels are what was put in."""
    _, dtype, scale, zero_point = INPUTS[number]
    model, offset, shape, output, arena, quant, labels, _ = built.facts[number]
    assert bytes.fromhex(model) == CONTENT
    assert offset == "0"
    channels = firmware_of(number).inputs[0].shape[-1]
    assert shape == f"1 4 5 {channels} {20 * channels} {np.dtype(dtype).itemsize}"
    assert output == "4 1 0.25 7"
    assert arena == f"{7000 + number} 3"
    if scale is not None:
        stated, zero = quant.split()
        assert np.float32(stated) == np.float32(scale)
        assert int(zero) == zero_point
    assert [bytes.fromhex(label).decode() for label in labels.split()] == list(LABELS)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_the_pixel_line_gives_what_numpy_gives(built: Built, number: int) -> None:
    """Each of 256 pixels in each channel becomes the value that edgecnn feeds; halves may go either way."""
    text, dtype, scale, zero_point = INPUTS[number]
    normalization = Normalization.parse(text)
    entries = len(normalization.mean)
    pixels = np.tile(np.arange(256, dtype=np.uint8), (entries, 1))[None, :, :, None]
    real = normalization.apply(pixels)[0, :, :, 0]
    ours = built.pixels[number].reshape(entries, 256)
    spec = spec_of(dtype, scale, zero_point, entries)
    if spec.quant is None or scale is None or zero_point is None:
        np.testing.assert_allclose(ours, real, rtol=1e-6, atol=1e-6)
        return
    theirs = spec.quant.quantize(real, dtype)
    exact = real.astype(float) / scale + zero_point
    is_half = np.abs(exact % 1 - 0.5) < 0.005
    assert np.array_equal(ours[~is_half], theirs[~is_half])
    assert np.abs(ours - theirs).max() <= 1
    line = PixelLine.of(spec, normalization)
    assert line is not None
    assert np.array_equal(ours, line.table())


def test_pixels_of_0_to_1_need_no_multiplication() -> None:
    """The usual case is the line that firmware is written with by hand."""
    header = c_header(firmware_of(0))
    assert "static inline int8_t g_net0_pixel(uint8_t pixel) {\n  return (int8_t)(pixel - 128);\n}" in header


def test_the_resolver_gets_just_the_operators_of_the_file(tmp_path: Path) -> None:
    """The macro calls one method for each kind of operator, on the resolver it is given."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    facts = firmware_of(0)
    (tmp_path / "net0.h").write_text(c_header(facts))
    methods = "".join(f'void {name}() {{ puts("{name}"); }}\n' for name in facts.operators)
    program = f'#include <stdio.h>\n#include "net0.h"\nstruct Resolver {{ {methods} }};\n'
    program += "int main() { Resolver mine; if (sizeof mine) G_NET0_ADD_OPERATORS(mine); else return 1; }\n"
    (tmp_path / "main.cc").write_text(program)
    subprocess.run(["g++", "-Wall", "-Wextra", "-Werror", "main.cc"], cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "a.out"], check=True, capture_output=True, text=True)
    assert run.stdout.split() == list(facts.operators)


def test_every_operator_of_tflite_micro_has_a_method() -> None:
    """Names are spelled as `MicroMutableOpResolver` spells them."""
    methods = {_method(kind) for kind in RULES}
    assert {"AddConv2D", "AddDepthwiseConv2D", "AddMaxPool2D", "AddL2Pool2D", "AddAddN", "AddArgMax"} <= methods
    assert {"AddBatchMatMul", "AddCumSum", "AddPadV2", "AddSplitV", "AddSelectV2", "AddReverseV2"} <= methods
    assert {"AddBatchToSpaceNd", "AddGatherNd", "AddL2Normalization", "AddPCAN", "AddFftAutoScale"} <= methods
    assert {"AddUnidirectionalSequenceLSTM", "AddDetectionPostprocess", "AddRelu6", "AddSvdf"} <= methods
    assert all(re.fullmatch(r"Add[A-Z][A-Za-z0-9]*", method) for method in methods)
    assert len(methods) == len(RULES)
