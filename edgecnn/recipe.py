"""`Recipe`: what to export for whom, and what each file must reach to be called good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.formats.precision import PRECISIONS
from edgecnn.parsing import read_toml
from edgecnn.shipped import find_shipped, shipped_files
from edgecnn.short_repr import short_repr

#: Format → the precisions it can be written in.
WRITABLE: Mapping[str, tuple[str, ...]] = {
    name: tuple(row.name for row in PRECISIONS.values() if name in row.formats) for name in ("onnx", "tflite")
}


#: Step of a w8a8 quantization → what it does, in the order they are done.
INT8_STEPS: Mapping[str, str] = {
    "mse": "takes ranges of the least mean squared error, not the extremes",
    "percentile": "leaves one value of 10 000 out of each end of a range",
    "entropy": "takes ranges whose 256 steps tell the most of how the values are spread",
    "ranges": "takes for each tensor the best of these ranges, by the error of what reads it",
    "cle": "levels the ranges of channels that share a scale (cross-layer equalization)",
    "adaround": "rounds each weight up or down so that the layer's output changes least",
    "bias": "corrects biases by the mean error of each filter's output",
}
INT8_RANGES = ("mse", "percentile", "entropy", "ranges")  # one of them at most
MINMAX, AUTO = "minmax", "auto"
#: Type of inputs and outputs → the precision that has it; float32: any.
_ENDS: Mapping[str, str | None] = {"float32": None, "int8": "w8a8", "int16": "w8a16"}


def int8_steps(text: str) -> tuple[str, ...]:
    """Return the steps that *text* names, in the order they are done: `adaround,bias`; none for `minmax`.

    Raises:
        EdgecnnError: an unknown step.

    Example:
        >>> int8_steps("bias,adaround")
        ('adaround', 'bias')
    """
    if text in (MINMAX, AUTO):
        return ()
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in INT8_STEPS:
            raise unknown_name("quantization step", name, (MINMAX, AUTO, *INT8_STEPS))
    ranges = [name for name in named if name in INT8_RANGES]
    if len(set(ranges)) > 1:
        raise EdgecnnError(f"{ranges[0]} and {ranges[1]} both choose the ranges; take one of them")
    return tuple(name for name in INT8_STEPS if name in named)


@dataclass(frozen=True)
class Calibration:
    """How the ranges of activations are found for precisions that are calibrated."""

    samples: int = 256


@dataclass(frozen=True)
class Limits:
    """What a file of one precision must reach against the original network, on the same samples; None: no limit."""

    #: Of the task's score, as a fraction: 0.01 is one point.
    max_drop: float | None = field(default=None, metadata={"formerly": "max_accuracy_drop"})
    min_sqnr_db: float | None = None  # of the worst output or channel: `edgecnn.evaluate.parity.parity_of`
    min_agreement: float | None = None  # of outputs that are class numbers: the fraction that is the same

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise EdgecnnError(f"max_drop is a fraction, 0.01 for one point, not {self.max_drop:g}")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise EdgecnnError(f"min_agreement is a fraction, 0.99 for 99 %, not {self.min_agreement:g}")


@dataclass(frozen=True)
class Recipe:
    """An export recipe. The fields are the keys of its TOML file; `name` is the file's name.

    Example:
        >>> edgecnn.load_recipe("mcu").files
        {'tflite': ('w8a8',)}
    """

    __repr__ = short_repr

    name: str
    title: str
    files: Mapping[str, tuple[str, ...]]  # format → precisions
    input_dtype: str = "float32"  # of w8a8 files: "float32" or "int8"; of w8a16 files: "float32" or "int16"
    output_dtype: str = "float32"
    calibration: Calibration = Calibration()
    quantize: str = MINMAX  # how w8a8 files are made: "minmax" (ranges alone), or steps: "adaround,bias"
    integer_only: bool = False  # a w8a8 file that computes in float is rejected, and none is made with layers in float
    evaluation_samples: int = 1000
    limits: Mapping[str, Limits] = field(default_factory=dict)  # precision → limits
    runtime: str | None = None  # "tflite-micro": a file that it refuses, or that computes in float, is rejected
    bundle: tuple[str, ...] = ()  # "labels": labels.txt; "c_array": the TFLite file as a C source file

    def __post_init__(self) -> None:
        for format_name, precisions in self.files.items():
            if format_name not in WRITABLE:
                raise unknown_name(f"format in recipe {self.name}:", format_name, WRITABLE)
            for precision in precisions:
                if precision not in WRITABLE[format_name]:
                    raise unknown_name(f"{format_name} precision", precision, WRITABLE[format_name])
        for precision in self.limits:
            if not any(precision in known for known in WRITABLE.values()):
                raise unknown_name(f"precision in recipe {self.name}: limits", precision, WRITABLE["tflite"])
        for dtype in (self.input_dtype, self.output_dtype):
            if dtype not in _ENDS:
                raise unknown_name(f"dtype in recipe {self.name}:", dtype, _ENDS)
            for precision in (one for precisions in self.files.values() for one in precisions):
                if precision in _ENDS.values() and dtype != "float32" and _ENDS[dtype] != precision:
                    raise EdgecnnError(f"recipe {self.name}: a {precision} file cannot have {dtype} inputs or outputs")
        int8_steps(self.quantize)
        if self.runtime not in (None, "tflite-micro"):
            raise unknown_name(f"runtime in recipe {self.name}:", str(self.runtime), ("tflite-micro",))
        for part in self.bundle:
            if part not in ("labels", "c_array"):
                raise unknown_name(f"bundle part in recipe {self.name}:", part, ("labels", "c_array"))
        if self.calibration.samples < 1 or self.evaluation_samples < 1:
            raise EdgecnnError(f"recipe {self.name}: calibration and evaluation need at least one sample")


def load_recipe(name: str | Path) -> Recipe:
    """Return an export recipe.

    Args:
        name: `board`, `phone`, `mcu`, `x86`, a recipe of the user's own, or a TOML file.

    Raises:
        EdgecnnError: unknown recipe, or a broken file.

    Example:
        >>> edgecnn.load_recipe("mcu").input_dtype
        'int8'
    """
    path = find_shipped("export", str(name), "recipe")
    return read_toml(path, Recipe, name=path.stem)


def recipe_names() -> list[str]:
    """Return the names of all known recipes, sorted."""
    return sorted(shipped_files("export"))
