"""Read exported files without a runtime and without torch."""

from __future__ import annotations

from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.files import check_downloaded
from edgecnn.formats.graph import Graph, Operator, QuantParams, Tensor, TensorSpec
from edgecnn.formats.kinds import FORMATS, Format
from edgecnn.user_code import load_attribute

REJECTED = ".rejected"  # ends the name of a file that broke its recipe's limits


def read_graph(path: Path | str, *, input_shape: tuple[int, ...] | None = None) -> Graph:
    """Read the operators and tensors of an exported file; nothing is run.

    Args:
        path: a `.tflite` or `.onnx` file, also a `.rejected` one.
        input_shape: (C, H, W) of the first input of an `.onnx` file that leaves sizes open; None: all but its batch
            must be fixed.

    Raises:
        EdgecnnError: no such file, a folder, not an exported file by its suffix, or its content is broken.

    Example:
        >>> len(edgecnn.read_graph("classifier.tflite").operators)
        4
    """
    try:
        path = Path(path)
    except TypeError:
        raise EdgecnnError(
            f"an exported file is the path of a .tflite or .onnx file, not an object of type {type(path).__name__}; "
            "export_model and quantize write such files"
        ) from None
    if path.is_dir():
        raise EdgecnnError(f"'{path}' is a folder; name a .tflite or .onnx file in it")
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}'")
    suffix = Path(path.name.removesuffix(REJECTED)).suffix.removeprefix(".")
    if suffix not in FORMATS:
        raise EdgecnnError(f"{path}: not an exported file; edgecnn reads .tflite and .onnx")
    check_downloaded(path)
    sizes = {"input_shape": input_shape} if suffix == "onnx" else {}
    graph = load_attribute(FORMATS[suffix].reader)(path, **sizes)
    assert isinstance(graph, Graph)
    return graph


__all__ = ["FORMATS", "REJECTED", "Format", "Graph", "Operator", "QuantParams", "Tensor", "TensorSpec", "read_graph"]
