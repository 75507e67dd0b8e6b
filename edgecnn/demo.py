"""The whole way on a small network: train, compress, export, measure, check devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.benchmarks.measure import measure
from edgecnn.datasets import open_dataset
from edgecnn.device import load_device
from edgecnn.errors import require
from edgecnn.fit import FitReport, check_fit
from edgecnn.measurement import Measurement
from edgecnn.pipeline import CompressResult, ExportResult, compress_model, export_model
from edgecnn.progress import Progress, silent
from edgecnn.report import NetworkFigures, ReportFacts, write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = "digits"
DEVICES = ("rpi4", "rpizero2w", "stm32h7a3", "stm32f746", "nrf5340")
EPOCHS = 25
LEARNING_RATE = 6e-3  # the best of four settings on a quarter of the training samples, held out four times
PRUNING_RATIO = 0.5


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, step by step."""

    compressed: CompressResult
    exports: tuple[ExportResult, ...]  # of the trained network, then of the compressed one
    measurements: tuple[Measurement, ...]
    fits: tuple[FitReport, ...]  # of the compressed int8 TFLite file, one a device
    report: Path


def run_demo(folder: Path, progress: Progress = silent) -> DemoResult:
    """Train a small CNN on the digits, halve its channels, export both, measure every file, check devices, report.

    Everything lies in *folder* afterwards; about a minute on two cores.

    Raises:
        EdgecnnError: a package of the extras `torch` or `report` is missing.
    """
    require("matplotlib", "report")  # missed now, not after a minute
    trained, small = folder / "digits.safetensors", folder / "digits-small.safetensors"
    # Pruning nothing and fine-tuning from fresh weights is training.
    for model, ratio, path in (("edgecnn:digits-cnn", 0.0, trained), (str(trained), PRUNING_RATIO, small)):
        compressed = compress_model(
            model,
            path,
            data=DATA,
            pruning_ratio=ratio,
            epochs=EPOCHS,
            learning_rate=LEARNING_RATE,
            progress=progress,
        )
    exports = tuple(
        export_model(str(checkpoint), folder, recipe="board", data=DATA, progress=progress)
        for checkpoint in (trained, small)
    )
    measurements = tuple(_measured(exports, progress))
    deployed = next(
        file.path for file in exports[1].files if (file.artifact.format, file.artifact.precision) == ("tflite", "w8a8")
    )
    fits = tuple(check_fit(deployed, load_device(name)) for name in DEVICES)
    progress("writing the report")
    report = write_report(
        folder / "report.html",
        title="edgecnn demo: a digit classifier on its way to a board",
        facts=_facts(folder, compressed),
        files=[file for export in exports for file in export.files],
        measurements=measurements,
        fits=fits,
    )
    return DemoResult(compressed, exports, measurements, fits, report)


def _facts(folder: Path, compressed: CompressResult) -> ReportFacts:
    before, after = compressed.before, compressed.after
    trained, small = folder / "digits.safetensors", compressed.path
    schedule = f"--epochs {EPOCHS} --learning-rate {LEARNING_RATE}"
    return ReportFacts(
        model="edgecnn:digits-cnn",
        data=DATA,
        before=NetworkFigures(before.params, before.macs, compressed.accuracy_before),
        after=NetworkFigures(after.params, after.macs, compressed.accuracy_after),
        steps=(
            f"Trained on scikit-learn's digits for {EPOCHS} epochs.",
            f"Pruned: {100 * PRUNING_RATIO:.0f} % of the filters of every layer, those of the smallest L2 norm; "
            f"then fine-tuned for {EPOCHS} epochs.",
            "Exported both networks to ONNX and TFLite, in fp32 and w8a8, each file verified in its own runtime.",
            "Measured every file on this machine, and checked the compressed int8 TFLite file against five devices.",
        ),
        commands=(
            f"edgecnn compress edgecnn:digits-cnn --data {DATA} --ratio 0 {schedule} -o {trained}",
            f"edgecnn compress {trained} --data {DATA} --ratio {PRUNING_RATIO} {schedule} -o {small}",
            f"edgecnn export {small} --data {DATA} --recipe board -o {folder}",
            f"edgecnn bench {folder / small.stem}.w8a8.tflite --data {DATA}",
            f"edgecnn fit {folder / small.stem}.w8a8.tflite --device {DEVICES[-1]}",
        ),
    )


def _measured(exports: tuple[ExportResult, ...], progress: Progress) -> Iterator[Measurement]:
    data = open_dataset(DATA)
    for export in exports:
        for file in export.files:
            progress(f"measuring {file.path.name}")
            yield measure(file.artifact, data=data, progress=progress)
