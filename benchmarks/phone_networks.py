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
from pathlib import Path

import numpy as np

from edgecnn.device import LATENCY_KINDS
from edgecnn.estimate.fitting import Floats
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.files import write_whole
from edgecnn.formats import read_graph
from edgecnn.formats.precision import PRECISIONS

TABLE = Path(__file__).parent / "tables/phone_networks.csv"
COLUMNS = ("network", "kind", "operators", "macs", "padded_macs", "activations", "weights")


def read_networks() -> dict[str, Floats]:
    """Return network → [kinds, (operators, padded multiply-adds, activations, weights)]."""
    found: dict[str, Floats] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            own = found.setdefault(line["network"], np.zeros((len(LATENCY_KINDS), 4)))
            own[LATENCY_KINDS.index(line["kind"])] = [float(line[key]) for key in (COLUMNS[2], *COLUMNS[4:])]
    return found


def amounts(network: Floats, precision: str) -> Floats:
    """Return what the operators amount to in *precision*, [kinds x (multiply-adds, bytes, operators)], flat."""
    row = PRECISIONS[precision]
    operators, macs, activations, weights = network.T
    moved_bytes = activations * row.value_bytes + weights * row.weight_bytes
    return np.asarray(np.stack([macs, moved_bytes, operators], axis=1).ravel())


def lines_of(name: str, works: Sequence[Work]) -> list[tuple[str | int, ...]]:
    """Return the lines of the table for one network; a kind that it has none of has no line."""
    found: list[tuple[str | int, ...]] = []
    for kind in LATENCY_KINDS:
        own = [work for work in works if work.kind == kind]
        if own:
            padded = round(sum(work.padded_macs(Blocks()) for work in own))
            sums = (sum(getattr(work, column) for work in own) for column in ("activations", "weights"))
            found.append((name, kind, len(own), sum(work.macs for work in own), padded, *sums))
    return found


def works_of(name: str) -> list[Work]:
    """Return the work of each operator of the network *name* of pytorchcv."""
    np.int = int  # type: ignore[attr-defined]
    from pytorchcv.model_provider import get_model  # type: ignore[import-not-found]

    from edgecnn.export.onnx import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        artifact = to_onnx(get_model(name).eval(), Path(folder) / f"{name}.onnx", (3, 224, 224))
        return [work for _, work in graph_works(read_graph(artifact.path), "litert")]


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
        write_lines(lines_of(name, works_of(name)))
        print(name, flush=True)


if __name__ == "__main__":
    main()
