"""All steps on a small network: train, compress, export, measure, check devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.errors import require
from edgecnn.files import check_writable
from edgecnn.pipeline import CompressResult, ExportResult, Training, Uniform, compress_model, export_model
from edgecnn.progress import Progress, silent
from edgecnn.report import NetworkFigures, Report, ReportFacts, write_report

DATA = "digits"
EPOCHS = 25
LEARNING_RATE = 6e-3  # the best of four settings on a quarter of the training samples, held out four times
PRUNING_RATIO = 0.5


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, step by step."""

    compressed: CompressResult
    exports: tuple[ExportResult, ...]  # of the trained network, then of the compressed one, and it for microcontrollers
    report: Report


def run_demo(folder: Path | str, *, progress: Progress = silent) -> DemoResult:
    """Train a small CNN on digits, prune it, export and measure it, check devices, and write a report.

    It takes about a minute on two cores.

    Args:
        folder: where all files are written; those for microcontrollers go to `mcu` in it.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: a package of the extras `torch` or `report` is missing.

    Example:
        >>> edgecnn.run_demo("demo").report.path  # doctest: +SKIP
        PosixPath('demo/report.html')
    """
    folder = Path(folder)
    require("matplotlib", "report")  # missed now, not after a minute
    check_writable(folder / "report.html")
    trained, small = folder / "digits.safetensors", folder / "digits-small.safetensors"
    # Pruning nothing and fine-tuning from fresh weights is training.
    training = Training(epochs=EPOCHS, learning_rate=LEARNING_RATE)
    for model, ratio, path in (("edgecnn:digits-cnn", 0.0, trained), (str(trained), PRUNING_RATIO, small)):
        compressed = compress_model(
            model,
            path,
            Uniform(ratio),
            data=DATA,
            training=training,
            progress=progress,
        )
    boards = tuple(
        export_model(str(checkpoint), folder, recipe="board", data=DATA, progress=progress)
        for checkpoint in (trained, small)
    )
    micro = export_model(str(small), folder / "mcu", recipe="mcu", data=DATA, progress=progress)
    exports = (*boards, micro)
    report = write_report(
        [file.path for export in exports for file in export.files],
        folder / "report.html",
        title="edgecnn demo: a digit classifier on its way to a board",
        facts=_facts(folder, compressed, exports),
        data=DATA,
        effort=BenchmarkConfig(),
        progress=progress,
    )
    return DemoResult(compressed, exports, report)


def _facts(folder: Path, compressed: CompressResult, exports: tuple[ExportResult, ...]) -> ReportFacts:
    before, after = compressed.before, compressed.after
    trained, small = folder / "digits.safetensors", compressed.path
    schedule = f"--epochs {EPOCHS} --learning-rate {LEARNING_RATE}"
    return ReportFacts(
        model="edgecnn:digits-cnn",
        data=DATA,
        before=NetworkFigures(before.params, before.macs, compressed.score_before),
        after=NetworkFigures(after.params, after.macs, compressed.score_after),
        steps=(
            f"Trained on scikit-learn's digits for {EPOCHS} epochs.",
            f"Pruned: {100 * PRUNING_RATIO:.0f} % of the filters of every layer, those of the smallest L2 norm; "
            f"then fine-tuned for {EPOCHS} epochs.",
            "Exported both networks to ONNX and TFLite, in fp32 and w8a8, each file verified in its own runtime.",
            "Exported the compressed network for microcontrollers too, with int8 input and output.",
            "Measured every file on this machine, and estimated latency and memory on devices.",
        ),
        warnings=tuple(dict.fromkeys(warning for export in exports for warning in export.warnings)),
        commands=(
            f"edgecnn compress edgecnn:digits-cnn --data {DATA} --ratio 0 {schedule} -o {trained}",
            f"edgecnn compress {trained} --data {DATA} --ratio {PRUNING_RATIO} {schedule} -o {small}",
            *(f"edgecnn export {path} --data {DATA} --recipe board -o {folder}" for path in (trained, small)),
            f"edgecnn export {small} --data {DATA} --recipe mcu -o {folder / 'mcu'}",
            f"edgecnn report {folder}/*.tflite {folder}/*.onnx {folder}/mcu/*.tflite --data {DATA}",
        ),
    )
