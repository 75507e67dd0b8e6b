"""What would make a network that does not fit smaller."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from edgecnn.fit.report import RegionUse
from edgecnn.formats import Graph
from edgecnn.units import format_bytes, format_share

_FEW = 3
_FLOATS = ("float32", "float16")


def short_name(name: str) -> str:
    """Return the last two steps of the path a converter makes of a module's name."""
    words = [part for part in name.split(";") if part and not part.isdigit()]
    steps = words[-1].split("/") if words else [name]
    return "/".join(step.removeprefix("torch.nn.modules.") for step in steps[-2:])


def next_steps(graph: Graph, regions: Sequence[RegionUse], activation_bytes: int) -> tuple[str, ...]:
    """Return what to try, one sentence each, the cheapest first; nothing where every region fits."""
    steps: list[str] = []
    for region in regions:
        if region.fits:
            continue
        steps.append(f"{region.name} lacks {format_bytes(-region.headroom_bytes)}")
        steps += _quantize(graph, region, activation_bytes)
        if region.name == "ram":
            steps += _shrink_input(graph, region, activation_bytes)
        steps += _heaviest(graph) if region.name == "flash" or graph.weights_bytes > activation_bytes else []
    return tuple(dict.fromkeys(steps))


def _quantize(graph: Graph, region: RegionUse, activation_bytes: int) -> list[str]:
    """Say what int8 would take, where the file still computes in float."""
    floats = sum(tensor.size_bytes for tensor in graph.tensors if tensor.constant and tensor.dtype == "float32")
    halves = sum(tensor.size_bytes for tensor in graph.tensors if tensor.constant and tensor.dtype == "float16")
    moving = (
        activation_bytes if any(graph.tensors[i].dtype in _FLOATS for op in graph.operators for i in op.outputs) else 0
    )
    saved_weights = floats * 3 // 4 + halves // 2
    counted_weights = region.name != "ram" or graph.weights_bytes * 2 < region.used_bytes > activation_bytes * 4
    saved = (moving * 3 // 4 if region.name == "ram" else 0) + (saved_weights if counted_weights else 0)
    if not graph.float_operators() or saved == 0:
        return []
    left = region.used_bytes - saved
    answer = "fits" if left <= region.limit_bytes else "does not fit either"
    return [
        f"int8 weights and activations (w8a8) would take about {format_bytes(left)} of {region.name}, which {answer}"
    ]


def _shrink_input(graph: Graph, region: RegionUse, activation_bytes: int) -> list[str]:
    """Say which input side would fit: activations shrink with its square, all else stays."""
    images = [spec for spec in graph.input_specs if len(spec.shape) == 4]
    room = region.limit_bytes - (region.used_bytes - activation_bytes)
    if not images or room <= 0 or activation_bytes == 0:
        return []
    _, *sizes = images[0].shape
    height, width = sizes[:2] if graph.format == "tflite" else sizes[1:]
    factor = sqrt(room / activation_bytes)
    small = (int(height * factor), int(width * factor))
    if min(small) < 1:
        return []
    return [f"an input of {small[0]}x{small[1]} instead of {height}x{width} ({factor:.2f} of the side) would fit"]


def _heaviest(graph: Graph) -> list[str]:
    """Name the layers with the most weights."""
    weights = {
        f"operator {step}, {operator.kind}": sum(
            graph.tensors[index].size_bytes
            for index in set(operator.inputs)
            if index >= 0 and graph.tensors[index].constant
        )
        for step, operator in enumerate(graph.operators)
    }
    largest = [name for name in sorted(weights, key=lambda name: -weights[name])[:_FEW] if weights[name]]
    share = sum(weights[name] for name in largest) / max(graph.weights_bytes, 1)
    shown = "; ".join(f"{name} ({format_bytes(weights[name])})" for name in largest)
    return [f"prune the layers that dominate the weights ({format_share(share)}): {shown}"] if largest else []
