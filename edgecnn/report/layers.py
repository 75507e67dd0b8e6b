"""Where a network's parameters and multiply-adds are, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from operator import attrgetter
from typing import Any

from edgecnn.formats import Graph
from edgecnn.report.drawing import COLOURS, WIDTH, add_axes, grid, new_figure, scale_axis, title_axis, to_svg, write
from edgecnn.report.facts import shorten
from edgecnn.report.markup import Markup
from edgecnn.units import format_count

MOST_LAYERS = 40  # that are drawn; of a deeper network the heaviest

_ROW = 32.0
_FOOT = 34.0
_HALF = WIDTH / 2 - 14  # width of one of the two panels


@dataclass(frozen=True)
class Layer:
    """An operator that has weights or multiply-adds."""

    step: int  # of the file's operators
    kind: str
    shape: tuple[int, ...]  # of its output, without the batch
    params: int
    macs: int


def layers_of(graph: Graph) -> list[Layer]:
    """Return the layers of *graph* in the order they run; a constant that two operators read counts at the first."""
    counted: set[int] = set()
    layers = []
    for step, operator in enumerate(graph.operators):
        own = {i for i in operator.inputs if i >= 0 and graph.tensors[i].constant} - counted
        counted |= own
        if not operator.macs:
            own = {i for i in own if not graph.tensors[i].dtype.startswith("int")}  # axes and shapes, no parameters
        params = sum(prod(graph.tensors[i].shape) for i in own)
        if operator.macs or params > 1:  # a constant of one element is a scale or a zero point
            shape = graph.tensors[operator.outputs[0]].shape[1:] if operator.outputs else ()
            layers.append(Layer(step, operator.kind, shape, params, operator.macs))
    return layers


def heaviest(layers: Sequence[Layer]) -> list[Layer]:
    """Return all of *layers*, or of more than `MOST_LAYERS` those with the largest share of the two, in order."""
    params, macs = (max(1, sum(counts)) for counts in zip(*((x.params, x.macs) for x in layers), strict=True))
    by_weight = sorted(layers, key=lambda layer: -max(layer.params / params, layer.macs / macs))
    return sorted(by_weight[:MOST_LAYERS], key=lambda layer: layer.step)


def draw_layers(layers: Sequence[Layer], before: Mapping[int, Layer]) -> Markup:
    """Draw two bars for each layer, its parameters and its multiply-adds; those *before*, by step, are pale behind.

    Args:
        layers: in the order they run.
        before: step → the same layer of the network before compression; empty: there is none.
    """
    high = _ROW * len(layers)
    figure = new_figure(high + _FOOT)
    for left, name, count in (
        (8.0, "parameters", attrgetter("params")),
        (WIDTH - 8 - _HALF, "multiply-adds (MACs)", attrgetter("macs")),
    ):
        axes = add_axes(figure, left, _FOOT, _HALF, high)
        _draw_panel(axes, [count(x) for x in layers], [count(before.get(x.step, x)) for x in layers])
        title_axis(axes, name)
    across = figure.axes[0].get_yaxis_transform()
    for index, layer in enumerate(layers):
        size = "×".join(map(str, layer.shape))
        text = f"{layer.step}  {shorten(layer.kind, 24)}" + (f" → {size}" if size else "")
        write(figure.axes[0], 0, -index + 0.2, text, transform=across, clip_on=False)
    return to_svg(figure, "layers", "Parameters and multiply-adds of each layer")


def _draw_panel(axes: Any, counts: Sequence[int], before: Sequence[int]) -> None:
    most = max(*counts, *before, 1) * (1.3 if counts == before else 1.9)
    axes.set_xlim(0, most)
    axes.set_ylim(-len(counts) + 0.5, 0.5)
    axes.set_yticks([])
    scale_axis(axes.xaxis, "count", most, ticks=3)
    grid(axes, "x")
    for index, (count, pale) in enumerate(zip(counts, before, strict=True)):
        axes.barh(-index - 0.22, max(pale, count), height=0.3, color=COLOURS["float"], alpha=0.25)
        axes.barh(-index - 0.22, count, height=0.3, color=COLOURS["float"])
        text = format_count(count) if pale == count else f"{format_count(count)} of {format_count(pale)}"
        write(axes, max(pale, count) + 0.02 * most, -index - 0.23, text, "muted", fontsize=9)
