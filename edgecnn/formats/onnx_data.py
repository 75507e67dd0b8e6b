"""The files beside an `.onnx` file that hold its weights (ONNX calls them external data)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError

_REMEDY = "; copy both, or export it again"


def read_data_files(onnx: Any, model: Any, path: Path) -> tuple[str, ...]:
    """Return the data files of *model*, the ONNX file at *path*, sorted: paths that start from its folder.

    Example: `torch.onnx.export(..., "net.onnx")` writes `net.onnx` and `net.onnx.data`; the result is
    `("net.onnx.data",)`.

    Args:
        onnx: the package.
        model: a `ModelProto` whose data were not loaded.
        path: where it lies.

    Raises:
        EdgecnnError: a data file is missing, ends before the weights in it do, or lies outside the folder of *path*:
            a file must not choose which of the machine's other files are read.
    """
    sizes: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if name not in sizes:
            sizes[name] = _checked(path, name).stat().st_size
        start = int(entries.get("offset") or 0)
        length = int(entries.get("length") or 0) or _stored_bytes(onnx, tensor)
        if start < 0 or length < 0 or start + length > sizes[name]:
            raise EdgecnnError(
                f"{path}: its weights '{tensor.name}' are bytes {start} to {start + length} of '{name}', which has "
                f"{sizes[name]}{_REMEDY}"
            )
    return tuple(sorted(sizes))


def _checked(path: Path, name: str) -> Path:
    """Return the data file *name* of the ONNX file at *path*, which is a regular file in its folder or below."""
    file, folder = path.parent / name, path.parent.resolve()
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise EdgecnnError(f"{path}: its weights are in '{name}', outside its folder; edgecnn does not read it")
    try:
        place = file.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # not there, a loop of links, a name that no file can have
        place = None
    if place is None or not place.is_file():
        raise EdgecnnError(f"{path}: its weights are in '{name}', which is not beside it{_REMEDY}")
    if not place.is_relative_to(folder):
        raise EdgecnnError(
            f"{path}: its weights are in '{name}', a link to outside its folder; put the file itself there"
        )
    return file


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor that a model stores: of its graph, of graphs within operators, of its functions."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
        for node in nodes:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
                graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
        nodes = []


def _stored_bytes(onnx: Any, tensor: Any) -> int:
    """Return the bytes of a tensor that does not say how long it is; a type without a size counts as 0."""
    try:
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        return 0
    return prod(map(int, tensor.dims)) * int(itemsize)


__all__ = ["read_data_files"]
