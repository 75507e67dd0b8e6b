"""Write a network as ONNX."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.export import FileFacts, versions
from edgecnn.export.quiet import quiet
from edgecnn.export.simplify import simplified
from edgecnn.files import written_whole

if TYPE_CHECKING:
    from torch import nn

TOOLS = ("torch", "onnx", "onnxscript", "onnxsim")
_OPSET = 13  # the first with a scale for each channel: DequantizeLinear has an axis


def to_onnx(
    module: nn.Module, path: Path | str, input_shape: tuple[int, ...], facts: FileFacts | None = None
) -> Artifact:
    """Write *module* to *path* as ONNX in fp32: input `input` [1, C, H, W], simplified, checked by onnx's own checker.

    Args:
        module: a network in evaluation mode; `SeveralInputs` if it takes more than one.
        path: the file to write, whole or not at all.
        input_shape: (C, H, W).
        facts: metadata for the file; None: its name alone.

    Raises:
        EdgecnnError: the exporter or the checker refused the network; the message is theirs.

    Example:
        >>> network = edgecnn.build("edgecnn:digits-cnn")
        >>> edgecnn.to_onnx(network.module, "digits.onnx", (1, 8, 8)).inputs[0].shape
        (1, 1, 8, 8)
    """
    path = Path(path)
    torch = require("torch", "torch")
    onnx = require("onnx", "torch")
    from edgecnn.export.failing_layer import naming_the_layer
    from edgecnn.nets.outputs import named_tensors
    from edgecnn.nets.several import example_of

    with quiet("ONNX export"):
        module, named = example_of(module, input_shape)
        example = tuple(named.values())
        with torch.no_grad():
            outputs = [name for name, _ in named_tensors(module(*example))]
        names = {"input_names": list(named), **({} if outputs == ["output"] else {"output_names": outputs})}
        with naming_the_layer("ONNX export", module, example, _exported):
            program = _exported(module, example, **names)
        buffer = io.BytesIO()
        program.save(buffer)
        model, notes = simplified(onnx.load_from_string(buffer.getvalue()))
    facts = facts or FileFacts(path.stem)
    written = facts.to_json(precision="fp32", layout="NCHW", tools=versions(TOOLS), notes=list(notes))
    save_onnx(model, path, written)
    return Artifact.open(path)


def _exported(module: nn.Module, example: tuple[Any, ...], **names: Any) -> Any:
    """Return *module* as torch's exporter writes it, after pools that it gets wrong were taken apart."""
    from edgecnn.export.rewrites import with_plain_pools

    plain = with_plain_pools(module, example)
    return require("torch", "torch").onnx.export(plain, example, dynamo=True, verbose=False, **names)


def simplify_onnx(source: Artifact, path: Path, facts: FileFacts) -> Artifact:
    """Write the fp32 ONNX file *source* to *path* simplified, with edgecnn's metadata.

    Raises:
        EdgecnnError: it is not fp32, or the checker refused it.
    """
    if source.precision != "fp32":
        raise EdgecnnError(f"{source.path} is {source.precision} already; export from the fp32 file")
    onnx = require("onnx", "torch")
    with quiet("ONNX export"):
        model = onnx.load(source.path)
        shapes = {spec.name: spec.shape for spec in source.inputs}
        for value in model.graph.input:
            for size, dimension in zip(shapes.get(value.name, ()), value.type.tensor_type.shape.dim, strict=False):
                dimension.dim_value = size
        model, notes = simplified(model)
    written = facts.to_json(precision="fp32", layout=source.layout, tools=versions(TOOLS[1:]), notes=list(notes))
    save_onnx(model, path, written)
    return Artifact.open(path)


def can_be_quantized(source: Artifact) -> bool:
    """Whether the ONNX file *source* can become int8 as it stands: opset 13 or later, and one sample at a time."""
    onnx = require("onnx", "torch")
    model = onnx.load(source.path, load_external_data=False)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return opset >= _OPSET and all(spec.shape[:1] == (1,) for spec in source.inputs)


def save_onnx(model: Any, path: Path, metadata: dict[str, Any]) -> None:
    """Write an onnx `ModelProto` with edgecnn's *metadata*, after onnx's own checker has passed it.

    Raises:
        EdgecnnError: the checker found it broken.
    """
    onnx = require("onnx", "torch")
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(metadata))
    with quiet("ONNX check"):
        onnx.checker.check_model(model, full_check=True)
    with written_whole(path) as partial:
        partial.write_bytes(model.SerializeToString())
