"""`FORMATS`: what edgecnn knows of each file format, a row each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Format:
    """What is known of a file format; code is named as `package.module:function` and imported when it is used."""

    title: str
    reader: str  # makes a `Graph` of a file
    quantizer: str  # makes an int8 file of a float one
    layout: str  # `NHWC` or `NCHW`: where its images have their channels by custom
    runtime: str  # the usual one, as device profiles name it

    @property
    def image_axes(self) -> tuple[int, int]:
        """Which axes of an image are its height and width."""
        return (1, 2) if self.layout == "NHWC" else (2, 3)


#: Suffix of a file → its format.
FORMATS = {
    "tflite": Format(
        title="TFLite",
        reader="edgecnn.formats.tflite:read_tflite",
        quantizer="edgecnn.export.quantize_tflite:quantize_tflite",
        layout="NHWC",
        runtime="litert",
    ),
    "onnx": Format(
        title="ONNX",
        reader="edgecnn.formats.onnx:read_onnx",
        quantizer="edgecnn.export.quantize_onnx:quantize_onnx",
        layout="NCHW",
        runtime="onnxruntime",
    ),
}
