"""Operators of TFLite files that only move values, before and after edgecnn rearranges them.

    python benchmarks/transposes.py FOLDER [NAMES ...]      # the study's 28 networks and torchvision's classifiers
    python benchmarks/transposes.py FOLDER --time vgg19-v8 shufflenet_v2_x1_0

FOLDER keeps what the converter wrote, NAME.tflite, so that a run that was killed goes on. The counts of all files in it
go to benchmarks/tables/architecture-study/transposes.md. Weights are untrained: they change neither counts nor times.

With --time three files take turns in one process with one thread, in float and in int8: the converter's, edgecnn's, and
edgecnn's of the same network without its channel shuffles, which is what there is to win. Each value is the processor
time of a call, so that another process that takes the processor away does not count; the caches that it fills do. The
result goes to transposes-time.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torchvision.models import list_models, shufflenetv2

from edgecnn.datasets.noise import noise
from edgecnn.export import CalibrationInputs, FileFacts, quantize
from edgecnn.export.lift import lifted
from edgecnn.export.quiet import quiet
from edgecnn.export.tflite import _converted as converted
from edgecnn.export.tflite import save_tflite
from edgecnn.export.tflite_model import TFLiteModel
from edgecnn.export.tflite_moves import rearranged
from edgecnn.nets.blocks import ChannelShuffle
from edgecnn.nets.network import build
from edgecnn.runtimes.litert import open_content

TABLES = Path(__file__).parent / "tables" / "architecture-study"
KINDS = ("TRANSPOSE", "GATHER", "RESHAPE", "CONCATENATION", "SLICE")
STUDY = (*(f"resnet101-v{number}" for number in range(1, 16)), *(f"vgg19-v{number}" for number in range(1, 14)))
HEAD = "Made by `benchmarks/transposes.py`, which says what is in it."
ROUNDS, CALLS = 100, 3


def convert(name: str, folder: Path, *, shuffles: bool = True) -> bytes:
    """Return the network as the converter writes it, from *folder* if it is there."""
    path = folder / f"{name}{'' if shuffles else '-bound'}.tflite"
    if not path.exists():
        shape = (3, 32, 32) if name in STUDY else (3, 224, 224)
        module = build(f"{'edgecnn' if name in STUDY else 'torchvision'}:{name}").module.eval()
        inputs = (torch.zeros(1, *shape),)
        with quiet("conversion"):
            content = _without_shuffles(module, inputs) if not shuffles else converted(lifted(module, inputs), inputs)
        path.with_suffix(".part").write_bytes(content)
        path.with_suffix(".part").rename(path)
    return path.read_bytes()


def _without_shuffles(module: torch.nn.Module, inputs: Any) -> bytes:
    same: Callable[..., torch.Tensor] = lambda *given: next(x for x in given if isinstance(x, torch.Tensor))  # noqa: E731
    with patch.object(ChannelShuffle, "forward", same), patch.object(shufflenetv2, "channel_shuffle", same):
        return converted(lifted(module, inputs), inputs)


@dataclass(frozen=True)
class Counts:
    """The operators of a file."""

    kinds: Counter[str]

    @classmethod
    def of(cls, content: bytes) -> Counts:
        """Count those of *content*."""
        model = TFLiteModel.read(content)
        return cls(Counter(map(model.kind, model.operators)))


def counts_table(folder: Path) -> str:
    """Return a row for each converted network: operators before and after, of each kind that moves values."""
    rows = []
    for path in sorted(folder.glob("*.tflite")):
        if path.stem.endswith("-bound"):
            continue
        made = rearranged(path.read_bytes())
        before, after = Counts.of(path.read_bytes()).kinds, Counts.of(made.content).kinds
        pairs = [(before.total(), after.total()), *((before[kind], after[kind]) for kind in KINDS)]
        rows.append([path.stem, *(str(a) if a == b else f"{a} → {b}" for a, b in pairs), made.note or ""])
    return markdown_table(["network", "operators", *(kind.lower() for kind in KINDS), "note"], rows)


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table with the script's own description above it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return f"{HEAD}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def times_table(names: list[str], folder: Path) -> str:
    """Return the times of the files of each network beside the same without shuffles, which are 1."""
    rows = []
    for name in names:
        plain = convert(name, folder)
        files = {
            "the converter's": plain,
            "edgecnn's": rearranged(plain).content,
            "bound": rearranged(convert(name, folder, shuffles=False)).content,
        }
        for precision in ("fp32", "w8a8"):
            contents = {key: at_precision(content, precision, folder) for key, content in files.items()}
            times = alternating(contents)
            rows.append([name, precision, f"{times['bound'] / 1e6:.3f}", *(_ratio(times, key) for key in files)])
    return markdown_table(["network", "precision", "bound, ms", *files], rows)


def _ratio(times: dict[str, float], key: str) -> str:
    return f"{times[key] / times['bound']:.2f}"


def at_precision(content: bytes, precision: str, folder: Path) -> bytes:
    """Return a float file at another precision, calibrated on noise."""
    model = TFLiteModel.read(content)
    _, height, width, channels = model.shape(int(model.graph.inputs[0]))
    float_file, file = folder / "float.part", folder / "int8.part"
    save_tflite(content, float_file, FileFacts("timed").to_json(precision="fp32", layout="NHWC", tools={}))
    if precision == "fp32":
        return float_file.read_bytes()
    float_file = float_file.rename(folder / "float.fp32.part.tflite")
    samples = noise((channels, height, width), 16).calibration(16)
    quantize(float_file, file, precision, calibration=CalibrationInputs(samples, None))
    float_file.unlink()
    return file.read_bytes()


def alternating(contents: dict[str, bytes]) -> dict[str, float]:
    """Return the median processor time of a call of each file in nanoseconds, all in turns."""
    runs, inputs = {}, {}
    for key, content in contents.items():
        model = TFLiteModel.read(content)
        shape = model.shape(int(model.graph.inputs[0]))
        runs[key], inputs[key] = open_content(content), [np.random.default_rng(0).normal(size=shape).astype(np.float32)]
    times: dict[str, list[float]] = {key: [] for key in contents}
    for number in range(ROUNDS + 5):
        for key, run in runs.items():
            start = time.process_time_ns()
            for _ in range(CALLS):
                run(inputs[key])
            if number >= 5:
                times[key].append((time.process_time_ns() - start) / CALLS)
    return {key: statistics.median(values) for key, values in times.items()}


def main() -> None:
    """Convert, count or time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.time:
        (TABLES / "transposes-time.md").write_text(times_table(given.names, given.folder))
        return
    for name in given.names or [*STUDY, *list_models(module=sys.modules["torchvision.models"])]:
        try:
            convert(name, given.folder)
        except Exception as error:  # the others go on
            print(f"{name}: {error}", file=sys.stderr)
        (TABLES / "transposes.md").write_text(counts_table(given.folder))


if __name__ == "__main__":
    main()
