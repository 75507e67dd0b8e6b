"""The whole way on a small network: train, compress, export, measure, check devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.benchmarks.measure import measure
from edgecnn.datasets import open_dataset
from edgecnn.device import load_device
from edgecnn.errors import require
from edgecnn.files import check_writable
from edgecnn.fit import FitReport, check_fit
from edgecnn.measurement import Measurement
from edgecnn.pipeline import CompressResult, ExportResult, compress_model, export_model
from edgecnn.progress import Progress, silent
from edgecnn.report import NetworkFigures, ReportFacts, write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = "digits"
#: Recipe → the devices that run the compressed network's int8 TFLite file of it.
DEVICES = {"board": ("rpi4", "rpizero2w"), "mcu": ("stm32h7a3", "stm32f746", "nrf5340")}
EPOCHS = 25
LEARNING_RATE = 6e-3  # the best of four settings on a quarter of the training samples, held out four times
PRUNING_RATIO = 0.5


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, step by step."""

    compressed: CompressResult
    exports: tuple[ExportResult, ...]  # of the trained network, then of the compressed one, and it for microcontrollers
    measurements: tuple[Measurement, ...]
    fits: tuple[FitReport, ...]  # of the compressed int8 TFLite files, one a device
    report: Path


def run_demo(folder: Path, progress: Progress = silent) -> DemoResult:
    """Train a small CNN on the digits, halve its channels, export both, measure every file, check devices, report.

    Everything lies in *folder* afterwards, the file for microcontrollers in its subfolder `mcu`; about a minute on two
    cores.

    Raises:
        EdgecnnError: a package of the extras `torch` or `report` is missing.
    """
    require("matplotlib", "report")  # missed now, not after a minute
    check_writable(folder / "report.html")
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
    boards = tuple(
        export_model(str(checkpoint), folder, recipe="board", data=DATA, progress=progress)
        for checkpoint in (trained, small)
    )
    micro = export_model(str(small), folder / "mcu", recipe="mcu", data=DATA, progress=progress)
    exports = (*boards, micro)
    measurements = tuple(_measured(boards, progress))
    deployed = {"board": _integer_tflite(boards[1]), "mcu": _integer_tflite(micro)}
    fits = tuple(check_fit(deployed[recipe], load_device(name)) for recipe in deployed for name in DEVICES[recipe])
    progress("writing the report")
    report = write_report(
        folder / "report.html",
        title="edgecnn demo: a digit classifier on its way to a board",
        facts=_facts(folder, compressed, exports),
        files=[file for export in boards for file in export.files],
        measurements=measurements,
        fits=fits,
    )
    return DemoResult(compressed, exports, measurements, fits, report)


def _integer_tflite(export: ExportResult) -> Path:
    """Return the w8a8 TFLite file of *export*."""
    return next(
        file.path for file in export.files if (file.artifact.format, file.artifact.precision) == ("tflite", "w8a8")
    )


def _facts(folder: Path, compressed: CompressResult, exports: tuple[ExportResult, ...]) -> ReportFacts:
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
            "Exported the compressed network for microcontrollers too, with int8 input and output.",
            "Measured every file for boards on this machine, and checked the compressed network's int8 TFLite files "
            "against five devices.",
        ),
        warnings=tuple(dict.fromkeys(warning for export in exports for warning in export.warnings)),
        commands=(
            f"edgecnn compress edgecnn:digits-cnn --data {DATA} --ratio 0 {schedule} -o {trained}",
            f"edgecnn compress {trained} --data {DATA} --ratio {PRUNING_RATIO} {schedule} -o {small}",
            *(f"edgecnn export {path} --data {DATA} --recipe board -o {folder}" for path in (trained, small)),
            f"edgecnn export {small} --data {DATA} --recipe mcu -o {folder / 'mcu'}",
            f"edgecnn bench {folder / small.stem}.w8a8.tflite --data {DATA}",
            f"edgecnn fit {folder / 'mcu' / small.stem}.w8a8.tflite --device {DEVICES['mcu'][-1]}",
        ),
    )


def _measured(exports: tuple[ExportResult, ...], progress: Progress) -> Iterator[Measurement]:
    data = open_dataset(DATA)
    for export in exports:
        for file in export.files:
            progress(f"measuring {file.path.name}")
            yield measure(file.artifact, data=data, progress=progress)
