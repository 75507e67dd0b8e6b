"""A network of each task, float and int8, and at half of its MACs: scores with intervals, sizes and latencies.

    python benchmarks/tables/tasks/train.py FOLDER      (once: trains the networks, about half an hour on one core)
    python benchmarks/tasks.py FOLDER [NAME …]

FOLDER holds what `train.py` wrote. Writes benchmarks/tables/tasks/tasks.json and .md, a network after the other; the
rows of networks that are not named stay. A few minutes each on two cores, most of them for compressing.
`--skip-compress` leaves that out, `--skip-latency` the latencies.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgecnn
from edgecnn.files import write_whole
from edgecnn.tasks.decoders import decoder_to_json
from edgecnn.units import format_bytes

HERE = Path(__file__).parent / "tables" / "tasks"
TABLE = HERE / "tasks"
SIDE = (3, 64, 64)
ALLOWED = 1.0  # points between float and w8a8
RATIO = 0.3  # of the channels of each layer: half of the MACs of a network in which all layers follow
EPOCHS = 3


@dataclass(frozen=True)
class Row:
    """A network, its data, and how it is judged."""

    title: str
    data: str
    task: dict[str, Any]
    shape: tuple[int, ...] | None = None

    @property
    def source(self) -> edgecnn.DataSource:
        """The data, in the size that the network takes."""
        return edgecnn.DataSource(self.data, input_shape=self.shape)


def rows(folder: Path) -> dict[str, Row]:
    """Return the networks of the table by name."""
    sys.path.insert(0, str(HERE))
    from train import SSD

    own = f"{HERE / 'metrics.py'}:readings"
    return {
        "tiny_yolo": Row("YOLO-like detector", "scenes:detection", {"decode": "yolov8"}, SIDE),
        "tiny_ssd": Row("SSD-like detector", "scenes:detection", {"decode": decoder_to_json(SSD)}, SIDE),
        "tiny_unet": Row("U-Net", "scenes:segmentation", {}, SIDE),
        "tiny_lraspp": Row("LR-ASPP", "scenes:segmentation", {}, SIDE),
        "beats": Row("1-D, heartbeats", f"npz:{folder / 'beats.npz'}", {}),
        "gauge": Row("regression, a gauge", f"npz:{folder / 'gauge.npz'}", {}),
        "gauge_and_kind": Row("two outputs, own metric", f"npz:{folder / 'gauge_and_kind.npz'}", {"metric": own}),
    }


def files_of(model: str, name: str, row: Row, out: Path, *, latency: bool, **given: Any) -> list[dict[str, Any]]:
    """Export a network to float and int8 in both formats, and return what each file is."""
    task = edgecnn.TaskChoice(**row.task)
    result = edgecnn.export_model(model, out, recipe="board", data=row.source, task=task, name=name, **given)
    found = []
    for file in result.files:
        document = file.to_json()
        entry = {
            "format": document["format"],
            "precision": document["precision"],
            "size_bytes": document["size_bytes"],
            "rejected": document["rejected"],
            "sqnr_db": document["parity"]["sqnr_db"],
            "float_operators": len(document["float_operators"]),
            "scores": [score.to_json() | {"details": {}} for score in file.scores],
        }
        if latency:
            effort = edgecnn.BenchmarkConfig(processes=2, warmup_s=0.2, min_time_s=0.5)
            entry["p50_ns"] = edgecnn.measure(file.path, effort=effort).p50_ns
        found.append(entry)
    found += [{"format": one.format, "precision": one.precision, "failed": one.reason} for one in result.failed]
    return found


def network(name: str, row: Row, folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the row of one network: first as it is, then with the one at half of its MACs."""
    model, weights = f"{HERE / 'networks.py'}:{name}", folder / f"{name}.pth"
    latency = not arguments.skip_latency
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        found = {
            "name": name,
            "title": row.title,
            "files": files_of(model, name, row, out / "whole", latency=latency, weights=weights),
        }
        yield found
        if arguments.skip_compress:
            return
        small = out / f"{name}.safetensors"
        result = edgecnn.compress_model(
            model,
            small,
            edgecnn.Uniform(RATIO),
            weights=weights,
            data=row.source,
            task=edgecnn.TaskChoice(**row.task),
            training=edgecnn.Training(epochs=arguments.epochs),
        )
        yield found | {
            "macs": {"before": result.before.macs, "after": result.after.macs},
            "params": {"before": result.before.params, "after": result.after.params},
            "epochs": arguments.epochs,
            "half": files_of(model, f"{name}-half", row, out / "half", latency=latency, weights=small),
        }


def markdown(networks: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "| network | MACs | file | size | score | 95 % interval | drop of int8 | p50, one thread |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in networks:
        for key in ("files", "half"):
            macs = one.get("macs", {}).get("before" if key == "files" else "after")
            floats = {file["format"]: file for file in one.get(key, []) if file["precision"] == "fp32"}
            lines += [_line(one["title"], macs, file, floats.get(file["format"])) for file in one.get(key, [])]
    return "\n".join(lines) + "\n"


def _line(title: str, macs: int | None, file: dict[str, Any], float_file: dict[str, Any] | None) -> str:
    start = f"| {title} | {'' if macs is None else f'{macs / 1e6:.1f} M'} | {file['format']} {file['precision']} "
    if "failed" in file:
        return f"{start}| | {file['failed']} | | | |"
    score = file["scores"][0]
    interval = f"{100 * score['low']:.1f} to {100 * score['high']:.1f}"
    drop = ""
    if file["precision"] == "w8a8" and float_file is not None and "failed" not in float_file:
        drop = f"{100 * (float_file['scores'][0]['value'] - score['value']):+.2f}"
    latency = f"{file['p50_ns'] / 1e6:.2f} ms" if "p50_ns" in file else ""
    value = f"{score['name']} {100 * score['value']:.2f}"
    return f"{start}| {format_bytes(file['size_bytes'])} | {value} | {interval} | {drop} | {latency} |"


def main() -> None:
    """Measure the networks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--epochs", type=float, default=EPOCHS)
    parser.add_argument("--skip-compress", action="store_true")
    parser.add_argument("--skip-latency", action="store_true")
    arguments = parser.parse_args()
    known = rows(arguments.folder)
    path = TABLE.with_suffix(".json")
    names = arguments.names or list(known)
    for found in (one for name in names for one in network(name, known[name], arguments.folder, arguments)):
        done = {one["name"]: one for one in json.loads(path.read_text())["networks"]} if path.is_file() else {}
        done[found["name"]] = found
        ordered = [done[one] for one in known if one in done]
        write_whole(path, json.dumps({"schema_version": 1, "networks": ordered}, indent=1) + "\n")
        write_whole(TABLE.with_suffix(".md"), markdown(ordered))
        print(markdown([found]), flush=True)


if __name__ == "__main__":
    main()
