"""Work of the networks of the phones' data, by kind of operator, from their definitions in the package pytorchcv.

`python benchmarks/phone_networks.py NAME...` builds each network with pytorchcv, exports it to ONNX at 224 px, and adds
what its operators have to do to benchmarks/tables/phone_networks.csv, which has each network once. Some 20 seconds a
network. pytorchcv 0.0.67 is installed without its dependencies; its RegNets want numpy.int, which is set for it.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.device import LATENCY_KINDS
from edgecnn.estimate.fitting import Floats
from edgecnn.estimate.work import Blocks, Work, graph_works, kind_of_convolution
from edgecnn.files import write_whole
from edgecnn.formats import read_graph
from edgecnn.formats.precision import PRECISIONS

TABLE = Path(__file__).parent / "tables/phone_networks.csv"
COLUMNS = ("network", "precision", "kind", "operators", "macs", "padded_macs", "activations", "weights")
INPUT, CLASSES = 3 * 224 * 224, 1000


def read_networks(precision: str) -> dict[str, Floats]:
    """Return network → [kinds, (operators, padded multiply-adds, activations, weights)] of its file in *precision*."""
    found: dict[str, Floats] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["precision"] == precision:
                own = found.setdefault(line["network"], np.zeros((len(LATENCY_KINDS), 4)))
                own[LATENCY_KINDS.index(line["kind"])] = [float(line[key]) for key in (COLUMNS[3], *COLUMNS[5:])]
    return found


def amounts(network: Floats, precision: str) -> Floats:
    """Return what the operators amount to in *precision*, [kinds x (multiply-adds, bytes, operators)], flat."""
    row = PRECISIONS[precision]
    operators, macs, activations, weights = network.T
    moved_bytes = activations * row.value_bytes + weights * row.weight_bytes
    return np.asarray(np.stack([macs, moved_bytes, operators], axis=1).ravel())


@dataclass(frozen=True)
class Padding:
    """What a TFLite file pads apart before an operator: values that go in, and by how many they grow."""

    kind: str  # of the operator
    entering: int
    grown: int
    precisions: tuple[str, ...]  # in which LiteRT does not take it into the operator's kernel


def lines_of(name: str, works: Sequence[Work], paddings: Sequence[Padding]) -> list[tuple[str | int, ...]]:
    """Return the lines of the table for one network; a kind that it has none of has no line.

    The TFLite file does what the ONNX file does, and pads; of an int8 file the float ends are converted.
    """
    found: list[tuple[str | int, ...]] = []
    for precision in ("fp32", "w8a8"):
        own = [padding for padding in paddings if precision in padding.precisions]
        held = [*works, *(Work("padding", activations=2 * one.entering + one.grown) for one in own)]
        if precision == "w8a8":
            held += [Work("elementwise", activations=2 * values) for values in (INPUT, CLASSES)]
        for kind in LATENCY_KINDS:
            alike = [work for work in held if work.kind == kind]
            if alike:
                macs, padded = sum(work.macs for work in alike), sum(work.padded_macs(Blocks()) for work in alike)
                moved = sum(work.activations for work in alike) + sum(one.grown for one in own if one.kind == kind)
                weights = sum(work.weights for work in alike)
                found.append((name, precision, kind, len(alike), macs, round(padded), moved, weights))
    return found


def network_of(name: str) -> Any:
    """Return the network *name* of pytorchcv, with random weights."""
    from pytorchcv.model_provider import get_model  # type: ignore[import-not-found]

    np.int = int  # type: ignore[attr-defined]
    return get_model(name).eval()


def works_of(network: Any) -> list[Work]:
    """Return the work of each operator of a network, from its ONNX file."""
    from edgecnn.export.onnx import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        artifact = to_onnx(network, Path(folder) / "network.onnx", (3, 224, 224))
        return [work for _, work in graph_works(read_graph(artifact.path), "litert")]


def paddings_of(network: Any) -> list[Padding]:
    """Return what the network's TFLite files pad apart: before strided convolutions in int8, before poolings always.

    With stride 1 a file has no padding of its own: that of TFLite's convolution is the same.
    """
    import torch
    from torch import nn

    found = []

    def look(module: Any, inputs: Any, _: Any) -> None:
        size, stride, pad = (
            value[0] if isinstance(value, tuple) else value
            for value in (module.kernel_size, module.stride, module.padding)
        )
        _, channels, height, width = inputs[0].shape
        grown = channels * ((height + 2 * pad) * (width + 2 * pad) - height * width)
        if isinstance(module, nn.MaxPool2d):
            if pad:
                found.append(Padding("max_pooling", channels * height * width, grown, ("fp32", "w8a8")))
        elif pad and size > 1 and stride > 1:
            kind = kind_of_convolution(size**2, channels, module.groups)
            found.append(Padding(kind, channels * height * width, grown, ("w8a8",)))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(look)
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    return found


def write_lines(new: Sequence[tuple[str | int, ...]]) -> None:
    """Add lines to the table, in the place of those of the same networks."""
    names = {line[0] for line in new}
    old: list[tuple[str | int, ...]] = []
    if TABLE.is_file():
        with TABLE.open(encoding="utf-8", newline="") as file:
            old = [tuple(line) for line in csv.reader(file)][1:]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted([line for line in old if line[0] not in names] + list(new), key=lambda line: str(line[0])))
    write_whole(TABLE, text.getvalue())


def main() -> None:
    """Add the networks that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    for name in parser.parse_args().names:
        works = works_of(network_of(name))
        write_lines(lines_of(name, works, paddings_of(network_of(name))))
        print(name, flush=True)


if __name__ == "__main__":
    main()
