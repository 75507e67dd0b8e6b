"""Write a network as TFLite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.errors import require
from edgecnn.export import FileFacts, versions
from edgecnn.export.quiet import quiet
from edgecnn.export.tflite_activations import join_activations
from edgecnn.export.tflite_model import TFLiteModel
from edgecnn.export.tflite_moves import rearranged
from edgecnn.files import write_whole

if TYPE_CHECKING:
    from torch import nn

TOOLS = ("torch", "litert-torch", "litert-converter")


def to_tflite(
    module: nn.Module, path: Path | str, input_shape: tuple[int, ...], facts: FileFacts | None = None
) -> Artifact:
    """Write *module* to *path* as TFLite in fp32: input [1, H, W, C], batch norm folded, few transposes if any.

    Args:
        module: a network in evaluation mode; `SeveralInputs` if it takes more than one.
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
    from edgecnn.export.failing_layer import naming_the_layer
    from edgecnn.export.lift import lifted
    from edgecnn.nets.outputs import named_tensors
    from edgecnn.nets.several import example_of

    with quiet("TFLite export"):
        module, named = example_of(module, input_shape)
        inputs = tuple(named.values())
        with naming_the_layer("TFLite export", module, inputs, _converted):
            wide = lifted(module, inputs)
            model = TFLiteModel.read(_converted(wide, inputs))
        with torch.no_grad():
            model.name_outputs([name for name, _ in named_tensors(wide(*inputs))])
        if list(named) != ["input"]:
            model.name_inputs(list(named))
        join_activations(model)
        made = rearranged(model.to_bytes())
    facts = facts or FileFacts(path.stem)
    layout = "NHWC" if any(x.ndim == 4 for x in inputs) else "NC"
    written: dict[str, Any] = {"precision": "fp32", "layout": layout, "tools": versions(TOOLS)}
    written |= {"rearranged": dict(made.facts)} if made.facts else {}
    written |= {"notes": [made.note]} if made.note else {}
    save_tflite(made.content, path, facts.to_json(**written))
    return Artifact.open(path)


def _converted(module: nn.Module, inputs: tuple[Any, ...]) -> bytes:
    """Return *module* as litert-torch converts it, its images channels last."""
    from edgecnn.export.channels_last import ChannelsLast, channels_last
    from edgecnn.export.rewrites import rewriting

    litert_torch = require("litert_torch", "torch")
    with rewriting():
        return bytes(litert_torch.convert(ChannelsLast(module).eval(), channels_last(inputs)).model_content())


def _shorten_names(model: Any) -> None:
    """Give each activation the name of the module that makes it, `layer1.conv1`, and each constant a number: `c12`.

    The converter writes the whole path of modules and classes, many times: in a small file it takes as much flash as
    the weights. The quantizer asks for names unique in the whole file. Names that are short already stay.
    """
    seen: dict[str, int] = {}  # a name → the number of the last one that begins with it
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        name = (tensor.name or b"").decode(errors="replace")
        data = model.buffers[tensor.buffer].data
        is_constant = data is not None and len(data) > 0
        short, between = ("c", "") if is_constant else (_module_of(name) or "tensor", "#")
        unique = short
        while unique in seen:
            seen[short] += 1
            unique = f"{short}{between}{seen[short]}"
        seen[unique] = 1
        tensor.name = unique


def _module_of(name: str) -> str:
    """Return the name of the module that a converter's tensor belongs to; another name stays as it is.

    Each step of the path is a class and the attribute that holds the module, the first two our wrapper and the network.

    Example:
        >>> _module_of("edgecnn.export.ChannelsLast/net.Net_wrapped/net.Block_layer1/torch.nn.Conv2d_conv1;2")
        'layer1.conv1'
        >>> _module_of("edgecnn.export.ChannelsLast/net.Net_wrapped;3")
        'Net'
    """
    steps = [step.rpartition(".")[2] for step in name.partition(";")[0].split("/")]
    if len(steps) == 1:
        return steps[0] if ";" in name else name
    attributes = [re.sub(r"^_*[^_]+_", "", step) for step in steps[2:]]
    return ".".join(attributes) or steps[1].removesuffix("_wrapped")


def save_tflite(content: bytes, path: Path, metadata: dict[str, Any]) -> None:
    """Write a TFLite flatbuffer with edgecnn's *metadata* in its own metadata table, whole or not at all."""
    edited = TFLiteModel.read(content)
    model, schema = edited.model, edited.schema
    _shorten_names(model)
    edited.show_output_names()
    own = schema.BufferT()
    own.data = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name = METADATA_KEY
    entry.buffer = len(model.buffers)
    model.buffers.append(own)
    kept = [old for old in model.metadata or [] if old.name != METADATA_KEY.encode()]
    model.metadata = [*kept, entry]
    write_whole(path, edited.to_bytes())
