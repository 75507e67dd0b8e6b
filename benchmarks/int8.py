"""Int8 files beside their float file: edgecnn's ways to make them, and the defaults of the libraries.

    EDGECNN_DATA=DIR python benchmarks/int8.py SHARED [NETWORK ...] [--samples N]

SHARED holds `models/` and `data/imagenet-sample/`. Networks: resnet20, resnet56 (CIFAR-10), mobilenet-v1-025
(ImageNet). Every row is calibrated on the same samples and judged on the same others, paired with the float file: the
standard error is that of the difference. The peers get the ranges as their own calibrators find them. Writes
benchmarks/tables/int8/NETWORK.json and README.md after each row; rows that are there are kept, so delete the JSON to
measure anew. Takes minutes a network on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.run import run_artifact
from edgecnn.export import CalibrationInputs
from edgecnn.export.onnx import save_onnx
from edgecnn.export.quantize_tflite import quantizer_inputs
from edgecnn.export.quantizer import Quantizer
from edgecnn.export.tflite import save_tflite
from edgecnn.files import write_whole
from edgecnn.nets.network import Network
from edgecnn.normalization import Normalization
from edgecnn.pipeline.subject import Subject, load_subject
from edgecnn.pipeline.writer import Writer
from edgecnn.progress import silent
from edgecnn.recipe import Recipe
from edgecnn.samples import Samples

TABLES = Path(__file__).parent / "tables" / "int8"
METHODS = ("minmax", "bias", "adaround,bias", "cle,bias", "auto")
CALIBRATION = 256


class MobileNetV1(nn.Module):
    """MobileNet v1, width 0.25, with the padding of Keras (Howard et al. 2017, table 1)."""

    def __init__(self) -> None:
        super().__init__()
        outputs = [16, 32, 32, 64, 64, *[128] * 6, 256, 256]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        self.conv1, channels, blocks = self._layer(3, 8, 3, 2), 8, []
        for made, stride in zip(outputs, strides, strict=True):
            blocks += [self._layer(channels, channels, 3, stride, channels), self._layer(channels, made, 1)]
            channels = made
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(channels, 1000)

    @staticmethod
    def _layer(taken: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
        pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else kernel // 2
        convolution = nn.Conv2d(taken, made, kernel, stride, padding, groups=groups, bias=False)
        return nn.Sequential(pad, convolution, nn.BatchNorm2d(made, eps=1e-3), nn.ReLU6())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, 224, 224] to [N, 1000]."""
        return self.head(self.blocks(self.conv1(x)).mean((2, 3)))  # type: ignore[no-any-return]


def imagenet_sample(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the images of ImageNet, the middle 224 x 224 pixels: those for calibration to train with."""
    parts: dict[str, tuple[list[Any], list[int]]] = {"calibration": ([], []), "evaluation": ([], [])}
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            image = Image.open(folder / row["file"]).convert("RGB")
            left, top = ((size - 224) // 2 for size in image.size)
            pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
            parts[row["part"]][0].append(pixels.transpose(2, 0, 1))
            parts[row["part"]][1].append(int(row["class"]))
    (x_train, y_train), (x_test, y_test) = parts["calibration"], parts["evaluation"]
    named = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return {name: np.array(values) for name, values in named.items()}


def load(name: str, shared: Path) -> Subject:
    """Return a network with its data."""
    if name == "mobilenet-v1-025":
        network = MobileNetV1()
        network.load_state_dict(load_file(shared / "models/mobilenet-v1-025-imagenet.safetensors"))
        data = imagenet_sample(shared / "data/imagenet-sample")
        half = Normalization((0.5,) * 3, (0.5,) * 3)
        return load_subject(Network(name, network.eval()), data=DataSource(data, normalization=half))
    weights = shared / f"models/{name}-cifar10.safetensors"
    return load_subject(f"edgecnn:{name}", weights=weights, data="cifar10")


def peers(
    floats: Artifact, calibration: CalibrationInputs, folder: Path
) -> Iterator[tuple[str, Callable[[], Artifact]]]:
    """Yield the name of each peer's way and what makes its file."""
    if floats.format == "tflite":
        yield Quantizer.find().distribution, partial(peer_tflite, floats, calibration, folder / "peer.tflite")
        return
    path = folder / "peer.onnx"
    yield "onnxruntime", partial(peer_onnx, floats, calibration, path, per_channel=False)
    yield "onnxruntime per channel", partial(peer_onnx, floats, calibration, path, per_channel=True)


def peer_tflite(floats: Artifact, calibration: CalibrationInputs, path: Path) -> Artifact:
    """Write the file as Google's quantizer does by itself."""
    quantizer, content = Quantizer.find(), floats.path.read_bytes()
    rules = quantizer.rules("w8a8")
    signature, chunks = quantizer_inputs(content, floats, calibration, silent)
    ranges = quantizer.ranges(content, rules, signature, chunks, library_default=True)
    save_tflite(quantizer.quantize(content, rules, ranges), path, dict(floats.metadata) | {"precision": "w8a8"})
    return Artifact.open(path)


def peer_onnx(floats: Artifact, calibration: CalibrationInputs, path: Path, per_channel: bool) -> Artifact:
    """Write the file as onnxruntime's quantizer does by itself, prepared as its documentation says."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(range(len(calibration)))

        def get_next(self) -> dict[str, Any] | None:
            index = next(self.rest, None)
            return None if index is None else {floats.inputs[0].name: calibration[index]}

    prepared, quantized = path.with_suffix(".prepared"), path.with_suffix(".quantized")
    quantization.shape_inference.quant_pre_process(str(floats.path), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(prepared, quantized, Reader(), per_channel=per_channel)
    save_onnx(onnx.load(quantized), path, dict(floats.metadata) | {"precision": "w8a8"})
    return Artifact.open(path)


Scores = np.ndarray[Any, np.dtype[np.float64]]


def scores_of(artifact: Artifact, samples: Samples, subject: Subject) -> Scores:
    """Return what the file gives in its own runtime, [n, classes]."""
    plan = plan_for(artifact, samples, subject.normalization, None)
    return np.concatenate([answered.outputs[0] for answered in run_artifact(artifact, samples, plan)]).astype(
        np.float64
    )


def judged(scores: Scores, expected: Scores, labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return accuracy, drop with its standard error, agreement and SQNR of an int8 file beside its float file."""
    right, was_right = scores.argmax(1) == labels, expected.argmax(1) == labels
    lost, won, n = int((was_right & ~right).sum()), int((right & ~was_right).sum()), len(labels)
    drop = (lost - won) / n
    noise = float(np.square(expected - scores).sum())
    return {
        "top1": float(right.mean()),
        "drop": drop,
        "drop_standard_error": math.sqrt(max(lost + won - n * drop**2, 0.0)) / n,
        "agreement": float((scores.argmax(1) == expected.argmax(1)).mean()),
        "sqnr_db": 10 * math.log10(float(np.square(expected - expected.mean(0)).sum()) / max(noise, 1e-30)),
    }


def measure(name: str, shared: Path, count: int, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the document of one network after each new row; rows that are there already are kept."""
    subject = load(name, shared)
    samples = subject.data.evaluation.take(count)
    assert samples.labels is not None
    labels = samples.labels[samples.indices]
    path, recipe = TABLES / f"{name}.json", Recipe("int8", "", {})
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    used = len(subject.data.calibration(CALIBRATION))
    document = {"schema_version": 1, "network": name, "n": len(samples), "calibration": used, "rows": rows}
    known = {(row["format"], row["by"]) for row in rows}
    with tempfile.TemporaryDirectory() as place:
        for format_name in ("tflite", "onnx"):
            floats = Writer(subject, recipe, Path(place), silent).write(format_name, "fp32")
            expected = scores_of(floats, samples, subject)
            if (format_name, "float") not in known:
                rows.append({"format": format_name, "by": "float", **judged(expected, expected, labels)})
            calibration = CalibrationInputs(subject.data.calibration(CALIBRATION), subject.normalization)
            ways = list(peers(floats, calibration, Path(place)))
            for method in methods:
                writer = Writer(subject, replace(recipe, quantize=method), Path(place), silent, {format_name: floats})
                ways.append((f"edgecnn {method}", partial(writer.write, format_name, "w8a8")))
            for by, make in ways:
                if (format_name, by) in known:
                    continue
                began = time.monotonic()
                file = make()
                seconds = round(time.monotonic() - began, 1)
                row: dict[str, Any] = {
                    "format": format_name,
                    "by": by,
                    "seconds": seconds,
                    "size_bytes": file.size_bytes,
                }
                row |= {"operators": len(file.graph.operators), "chosen": file.metadata.get("quantize")}
                rows.append(row | judged(scores_of(file, samples, subject), expected, labels))
                print(name, json.dumps(rows[-1]), flush=True)
                yield document


def render() -> str:
    """Return the table of all networks that were measured."""
    lines = [
        "# Int8 beside float",
        "",
        "Written by `benchmarks/int8.py`, measured in each file's own runtime. All files of a network are calibrated",
        "on the same samples and judged on the same others. The drop is against the float file of that format, with",
        "the standard error of the paired difference; SQNR is that of the outputs, against their variance.",
    ]
    rank = {"float": 0}
    for path in sorted(TABLES.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        lines += ["", f"## {document['network']}, {document['n']} images", ""]
        lines += ["| format | made by | top-1 | drop, points | top-1 agrees | SQNR | operators |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for row in sorted(document["rows"], key=lambda row: (row["format"], rank.get(row["by"], 1))):
            by = row["by"] + (f" ({row['chosen']})" if row["by"].endswith("auto") else "")
            is_float = row["by"] == "float"
            drop = "" if is_float else f"{100 * row['drop']:.2f} ± {100 * row['drop_standard_error']:.2f}"
            rest = (
                "| | |"
                if is_float
                else f"{100 * row['agreement']:.1f} % | {row['sqnr_db']:.1f} dB | {row['operators']} |"
            )
            lines.append(f"| {row['format']} | {by} | {100 * row['top1']:.2f} % | {drop} | {rest}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the networks and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("networks", nargs="*", default=["resnet20", "resnet56", "mobilenet-v1-025"])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    arguments = parser.parse_args()
    TABLES.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        for document in measure(name, arguments.shared, arguments.samples, arguments.methods):
            write_whole(TABLES / f"{name}.json", json.dumps(document, indent=2) + "\n")
            write_whole(TABLES / "README.md", render())


if __name__ == "__main__":
    main()
