"""Write the mean over an image's height and width as what it is, a global average pool."""

from __future__ import annotations

from typing import Any


def pool_means(onnx: Any, model: Any) -> None:
    """Turn each `ReduceMean` over the last two axes of a 4-D tensor into `GlobalAveragePool`, in place.

    torch's exporter writes every pooling to one cell as a mean, for which onnxruntime has no integer kernel; for the
    pool it has one.
    """
    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in [*graph.value_info, *graph.input]}
    nodes = []
    for node in graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4:
            nodes.append(node)
            continue
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        axes = constants.get(node.input[1], ()) if len(node.input) > 1 else attributes.get("axes", ())
        if {int(axis) % 4 for axis in axes} != {2, 3}:
            nodes.append(node)
            continue
        keeps_axes = attributes.get("keepdims", 1)
        pooled = node.output[0] if keeps_axes else f"{node.output[0]}_pooled"
        nodes.append(onnx.helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps_axes:
            nodes.append(onnx.helper.make_node("Flatten", [pooled], node.output, name=f"{node.name}_flatten", axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
