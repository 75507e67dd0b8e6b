"""Write a network as TFLite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.errors import require
from edgecnn.export import FileFacts, versions
from edgecnn.export.quiet import quiet
from edgecnn.files import write_whole

if TYPE_CHECKING:
    from torch import nn

TOOLS = ("torch", "litert-torch", "litert-converter")


def to_tflite(
    module: nn.Module, path: Path | str, input_shape: tuple[int, ...], facts: FileFacts | None = None
) -> Artifact:
    """Write *module* to *path* as TFLite in fp32: input [1, H, W, C], batch norm folded, no transposes at the ends.

    Args:
        module: a network with one input, in evaluation mode.
        path: the file to write, whole or not at all.
        input_shape: (C, H, W).
        facts: metadata for the file; None: its name alone.

    Raises:
        EdgecnnError: the converter refused the network; the message is its own.

    Example:
        >>> network = edgecnn.build("edgecnn:digits-cnn")
        >>> edgecnn.to_tflite(network.module, "digits.tflite", (1, 8, 8)).inputs[0].shape
        (1, 8, 8, 1)
    """
    path = Path(path)
    torch = require("torch", "torch")
    with quiet("TFLite export"):
        litert_torch = require("litert_torch", "torch")
        example = torch.zeros(1, *input_shape)
        images = example.ndim == 4
        if images:
            spatial = [index for index, shape in enumerate(_output_shapes(module, example)) if len(shape) == 4]
            module = litert_torch.to_channel_last_io(module, args=[0], outputs=spatial).eval()
            example = example.permute(0, 2, 3, 1).contiguous()
        content = litert_torch.convert(module, (example,)).model_content()
    facts = facts or FileFacts(path.stem)
    layout = "NHWC" if images else "NC"
    save_tflite(content, path, facts.to_json(precision="fp32", layout=layout, tools=versions(TOOLS)))
    return Artifact.open(path)


def _output_shapes(module: nn.Module, example: Any) -> list[tuple[int, ...]]:
    torch = require("torch", "torch")
    with torch.no_grad():
        outputs = module(example)
    flat, _ = torch.utils._pytree.tree_flatten(outputs)
    return [tuple(output.shape) for output in flat]


def _shorten_names(model: Any) -> None:
    """Leave of each tensor's name the layer it belongs to: the converter writes the whole path of modules, many times.

    In a small file the paths take as much flash as the weights.
    """
    for graph in model.subgraphs:
        seen: dict[str, int] = {}
        for tensor in graph.tensors:
            path = (tensor.name or b"").decode(errors="replace").partition(";")[0]
            short = path.rpartition("/")[2].rpartition(".")[2] or "tensor"
            seen[short] = seen.get(short, 0) + 1
            tensor.name = short if seen[short] == 1 else f"{short}.{seen[short]}"


def save_tflite(content: bytes, path: Path, metadata: dict[str, Any]) -> None:
    """Write a TFLite flatbuffer with edgecnn's *metadata* in its own metadata table, whole or not at all."""
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    model = load_tflite(content)
    _shorten_names(model)
    own = schema.BufferT()
    own.data = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name = METADATA_KEY
    entry.buffer = len(model.buffers)
    model.buffers.append(own)
    kept = [old for old in model.metadata or [] if old.name != METADATA_KEY.encode()]
    model.metadata = [*kept, entry]
    write_whole(path, pack_tflite(model))


def load_tflite(content: bytes) -> Any:
    """Return a TFLite flatbuffer as the schema's `ModelT`.

    Constants that the converter appended behind the flatbuffer are taken into it: not every runtime reads them there.
    """
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for "in here"
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack_tflite(model: Any) -> bytes:
    """Return the flatbuffer of a `ModelT`."""
    flatbuffers: Any = require("flatbuffers", "torch")

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """The schema asks for constants at multiples of 16 bytes, which the generated Python code does not heed."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = AlignedBuilder(size + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
