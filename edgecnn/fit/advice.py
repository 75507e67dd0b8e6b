"""What would make a network that does not fit smaller; each advice is worked out as the network itself was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgecnn.fit.report import RegionUse
from edgecnn.fit.variants import follows_input, image_axes, in_int8, with_input, with_quantized_io, without_copies
from edgecnn.formats import Graph
from edgecnn.units import format_bytes

#: The part of a microcontroller's RAM that activations take.
HEAD_PART = "tensors (arena head)"
_FEW = 3
#: Of the limit: left free by what is advised, since a new export differs a little from what is worked out.
_MARGIN = 0.03
_SMALLEST = 4  # a smaller part of the side leaves nothing to recognize
_WORTH = 0.1  # of what is lacking: what saves less is not advised
_MOST_PRUNED = 0.9  # of the weights: more is another network

#: Operators that copy all they read, and which torch code makes them, as files of litert-torch show.
_COPIES = {
    "PAD": "a convolution with padding and stride 2 makes it where the side of its input is even; no copy is needed "
    "where the side is odd, 97x97 instead of 96x96",
    "MIRROR_PAD": "fold the padding into the convolution: padding=1 with zeros needs no copy, "
    'padding_mode="reflect" and F.pad(x, ..., "reflect") make one',
    "TRANSPOSE": "x.mean((2, 3)), permute, and flatten before a linear layer make it; nn.AdaptiveAvgPool2d(1) does not",
}

#: A graph → what it takes of each memory.
Measure = Callable[[Graph], Sequence[RegionUse]]


def short_name(name: str) -> str:
    """Return the last two steps of the path a converter makes of a module's name."""
    words = [part for part in name.split(";") if part and not part.isdigit()]
    steps = words[-1].split("/") if words else [name]
    return "/".join(step.removeprefix("torch.nn.modules.") for step in steps[-2:])


def next_steps(
    graph: Graph, regions: Sequence[RegionUse], measure: Measure, *, is_microcontroller: bool
) -> tuple[str, ...]:
    """Return what to try, one sentence each, the cheapest first; nothing where every region fits.

    On a microcontroller the weights lie in flash and the activations in RAM, elsewhere both in RAM.

    Args:
        graph: the network that does not fit.
        regions: what it takes of each memory.
        measure: gives the same of a changed graph.
        is_microcontroller: where the weights lie in flash.
    """
    steps: list[str] = []
    for region in regions:
        if region.fits:
            continue
        steps.append(f"{region.name} lacks {format_bytes(-region.headroom_bytes)}")

        def use(changed: Graph, name: str = region.name) -> RegionUse:
            return next(part for part in measure(changed) if part.name == name)

        small = _integer(graph, is_microcontroller)
        taken = use(small)
        helps = region.used_bytes - taken.used_bytes >= -_WORTH * region.headroom_bytes
        if helps:
            how = _how(graph, is_microcontroller)
            answer = "fits" if _fits(taken) else "is too close to be sure" if taken.fits else "does not fit either"
            steps.append(f"{how} would take about {format_bytes(taken.used_bytes)} of {region.name}, which {answer}")
        # What does not help enough is where the next advice starts.
        start, prefix = (small, "then ") if helps and not _fits(taken) else (graph, "")
        if region.name == "ram":
            steps += [prefix + step for step in _without_copies(start, use)]
            steps += [prefix + step for step in _smaller_inputs(start, use)]
        if not (is_microcontroller and region.name == "ram"):
            steps += [prefix + step for step in _fewer_weights(start, use(start))]
    return tuple(dict.fromkeys(steps))


def _fits(region: RegionUse) -> bool:
    return region.used_bytes <= region.limit_bytes * (1 - _MARGIN)


def _integer(graph: Graph, is_microcontroller: bool) -> Graph:
    """Return *graph* as its w8a8 file would be; on a microcontroller with int8 ends, as the recipe mcu writes it."""
    small = with_quantized_io(graph) if is_microcontroller else graph
    return in_int8(small) if graph.float_operators() else small


def _how(graph: Graph, is_microcontroller: bool) -> str:
    """Say how to get what `_integer` returns."""
    if not is_microcontroller:
        return "int8 weights and activations (w8a8)"
    if graph.float_operators():
        return "int8 weights, activations, input and output (w8a8, edgecnn export --recipe mcu)"
    return "int8 input and output (edgecnn export --recipe mcu)"


def _without_copies(graph: Graph, use: Callable[[Graph], RegionUse]) -> Iterator[str]:
    """Say which copies make the peak, and how to write the network without them."""
    whole = use(graph)
    for kind, origin in _COPIES.items():
        small = without_copies(graph, kind)
        if small is graph:
            continue
        taken = use(small)
        if whole.used_bytes - taken.used_bytes > max(0, -_WORTH * whole.headroom_bytes):
            answer = "fits" if _fits(taken) else "is too close to be sure" if taken.fits else "does not fit either"
            yield (
                f"{kind} makes a copy at the peak: without it the network would take about "
                f"{format_bytes(taken.used_bytes)} of {whole.name}, which {answer}; {origin}"
            )


def can_be_pruned_to_fit(graph: Graph, regions: Sequence[RegionUse], *, is_microcontroller: bool) -> bool:
    """Return whether what pruning cannot take is within every region: all but weights, or but activations in a RAM.

    Args:
        graph: the network that does not fit.
        regions: what it takes of each memory.
        is_microcontroller: where the weights lie in flash.
    """
    for region in regions:
        if is_microcontroller and region.name == "ram":
            ends = sum(graph.tensors[index].size_bytes for index in graph.inputs)
            fixed = region.used_bytes - region.parts.get(HEAD_PART, 0) + ends
        else:
            packed = sum(size for part, size in region.parts.items() if part.startswith("weights"))
            fixed = region.used_bytes - int(_MOST_PRUNED * (graph.weights_bytes + packed))
        if fixed > region.limit_bytes:
            return False
    return True


def _smaller_inputs(graph: Graph, use: Callable[[Graph], RegionUse]) -> Iterator[str]:
    """Say which input would fit: the largest that is halved as often as the network's own, without remainder."""
    if not graph.inputs or len(graph.tensors[graph.inputs[0]].shape) != 4:
        return
    height, width = (graph.tensors[graph.inputs[0]].shape[axis] for axis in image_axes(graph))
    whole, least = use(graph), use(with_input(graph, 1, 1))
    if min(height, width) < _SMALLEST or least.used_bytes == whole.used_bytes:
        return
    if not least.fits:
        if follows_input(graph):
            fixed = format_bytes(least.used_bytes)
            yield f"a smaller input is not enough: what does not depend on it takes {fixed} of {whole.name} already"
        return
    step = _stride(graph, height)

    def input_of(count: int) -> tuple[int, int]:
        return step * count, step * count * width // height // step * step

    # Of `count` strides: not below the smallest part, nor without width, and less than the whole.
    low, high = max(-(-height // (_SMALLEST * step)), -(-height // width)), (height - 1) // step + 1
    least_count = low
    while low < high:  # what is below low fits
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _fits(use(with_input(graph, *input_of(middle)))) else (low, middle)
    if low > least_count:
        small_height, small_width = input_of(low - 1)
        taken = use(with_input(graph, small_height, small_width)).used_bytes
        yield (
            f"an input of {small_height}x{small_width} instead of {height}x{width} would take about "
            f"{format_bytes(taken)} of {whole.name}, which fits"
        )
    elif follows_input(graph):
        yield f"no input down to 1/{_SMALLEST} of the side would fit"


def _stride(graph: Graph, side: int) -> int:
    """Return by how much the network shrinks a side before it pools all of it; 1 where that leaves a remainder."""
    axis = image_axes(graph)[0]
    found = [
        tensor.shape[axis]
        for tensor, lifetime in zip(graph.tensors, graph.lifetimes, strict=True)
        if lifetime is not None and len(tensor.shape) == 4 and 1 < tensor.shape[axis] <= side
    ]
    smallest = min(found, default=side)
    return side // smallest if side % smallest == 0 else 1


def _fewer_weights(graph: Graph, region: RegionUse) -> Iterator[str]:
    """Say which part of the weights would have to go, and where the most are; or what else the file holds."""
    lacking = -region.headroom_bytes
    if lacking <= 0:
        return
    weights = graph.weights_bytes + sum(size for part, size in region.parts.items() if part.startswith("weights"))
    rest = f"{format_bytes(region.used_bytes - weights)} are not weights: {_not_weights(graph, region)}"
    if lacking > weights:
        yield f"pruning is not enough: all weights take {format_bytes(weights)}, less than the shortfall; {rest}"
        return
    # On a device with a system, RAM holds the file and the copies that the runtime packs.
    share = f"{100 * lacking / weights:.0f} % of the {format_bytes(weights)} that weights take in {region.name}"
    if lacking > _MOST_PRUNED * weights:
        yield f"pruning alone is not enough: it would have to remove {share}; {rest}"
        return
    yield f"prune at least {share}; the heaviest: {_heaviest(graph)}"


def _heaviest(graph: Graph) -> str:
    """Return the operators with the most weights."""
    unpacked = {  # in a QDQ file the operator reads what DequantizeLinear makes of them
        operator.outputs[0]: operator.inputs[0] for operator in graph.operators if operator.kind == "DequantizeLinear"
    }
    layers: dict[str, int] = {}
    for step, operator in enumerate(graph.operators):
        if operator.kind != "DequantizeLinear":
            read = {unpacked.get(index, index) for index in operator.inputs if index >= 0}
            weights = sum(graph.tensors[index].size_bytes for index in read if graph.tensors[index].constant)
            layers[f"operator {step}, {operator.kind}"] = weights
    largest = sorted(layers, key=lambda name: -layers[name])[:_FEW]
    return "; ".join(f"{name} ({format_bytes(layers[name])})" for name in largest if layers[name])


def _not_weights(graph: Graph, region: RegionUse) -> str:
    """Return what a memory holds beside the weights: of the file, and beside it."""
    names = sum(len(tensor.name.encode(errors="replace")) for tensor in graph.tensors)
    scales = sum(12 * len(tensor.quant.scale) for tensor in graph.tensors if tensor.quant is not None)
    metadata = sum(map(len, graph.metadata.values()))
    known = {"names of tensors": names, "scales and zero points": scales, "metadata": metadata}
    rest = max(0, graph.size_bytes - graph.weights_bytes - sum(known.values()))
    beside = {part: size for part, size in region.parts.items() if not part.startswith(("model file", "weights"))}
    parts = {**beside, **known, "structure of the file": rest}
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{format_bytes(size)} {part}" for part, size in ordered if size > 0)
