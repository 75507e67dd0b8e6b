"""edgecnn: make a trained CNN small and fast enough for a phone or a board, and prove it."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own would be one more import before `__main__` can leave the working folder out
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

#: Public name → the module that has it; imported on first use, so that `import edgecnn` is light.
_PUBLIC = {
    "Artifact": "edgecnn.artifact",
    "Boxes": "edgecnn.tasks.boxes",
    "Budget": "edgecnn.pipeline",
    "CalibrationInputs": "edgecnn.export",
    "Change": "edgecnn.benchmarks.changes",
    "Checkpoint": "edgecnn.checkpoint",
    "DataSource": "edgecnn.datasets",
    "Dataset": "edgecnn.datasets",
    "Detections": "edgecnn.tasks.boxes",
    "DeviceProfile": "edgecnn.device",
    "EdgecnnError": "edgecnn.errors",
    "BenchmarkConfig": "edgecnn.benchmarks.measure",
    "Estimate": "edgecnn.estimate",
    "FitReport": "edgecnn.fit",
    "Graph": "edgecnn.formats",
    "HistoryEntry": "edgecnn.benchmarks.history",
    "Installation": "edgecnn.doctor",
    "Measurement": "edgecnn.measurement",
    "Network": "edgecnn.nets.network",
    "NetworkFigures": "edgecnn.report",
    "Normalization": "edgecnn.normalization",
    "Plan": "edgecnn.pipeline",
    "Recipe": "edgecnn.recipe",
    "Report": "edgecnn.report",
    "ReportFacts": "edgecnn.report",
    "Resize": "edgecnn.normalization",
    "Samples": "edgecnn.samples",
    "Score": "edgecnn.tasks.score",
    "Search": "edgecnn.compress.settings",
    "Sensitivity": "edgecnn.compress.sensitivity",
    "Sparsity": "edgecnn.compress.settings",
    "Study": "edgecnn.study",
    "Suite": "edgecnn.benchmarks.suite",
    "TargetFacts": "edgecnn.tasks.task",
    "Task": "edgecnn.tasks.task",
    "TaskChoice": "edgecnn.evaluate.choice",
    "Training": "edgecnn.compress.settings",
    "Uniform": "edgecnn.compress.settings",
    "add_device": "edgecnn.device",
    "build": "edgecnn.nets.network",
    "build_board": "edgecnn.targets.board.image",
    "calibrate": "edgecnn.benchmarks.calibrate",
    "check_fit": "edgecnn.fit",
    "check_installation": "edgecnn.doctor",
    "compare": "edgecnn.evaluate.compare",
    "compress_model": "edgecnn.pipeline",
    "count_variants": "edgecnn.study",
    "device_names": "edgecnn.device",
    "estimate_latency": "edgecnn.estimate",
    "export_model": "edgecnn.pipeline",
    "find_change": "edgecnn.benchmarks.changes",
    "load_device": "edgecnn.device",
    "load_recipe": "edgecnn.recipe",
    "load_study": "edgecnn.study",
    "load_suite": "edgecnn.benchmarks.suite",
    "load_task": "edgecnn.tasks",
    "measure": "edgecnn.benchmarks.measure",
    "measure_files": "edgecnn.benchmarks.plan",
    "measure_sensitivity": "edgecnn.pipeline",
    "measure_suite": "edgecnn.benchmarks.suite",
    "open_dataset": "edgecnn.datasets",
    "open_decoder": "edgecnn.tasks.decoders",
    "probe_device": "edgecnn.benchmarks.probe",
    "prune": "edgecnn.compress.prune",
    "quantize": "edgecnn.export",
    "read_graph": "edgecnn.formats",
    "read_history": "edgecnn.benchmarks.history",
    "read_measurements": "edgecnn.measurement",
    "run_demo": "edgecnn.demo",
    "run_file": "edgecnn.targets.execute",
    "to_onnx": "edgecnn.export.onnx",
    "to_tflite": "edgecnn.export.tflite",
    "write_report": "edgecnn.report",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgecnn' has no attribute '{name}'")
    from edgecnn.errors import explain_missing_packages

    with explain_missing_packages():
        return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
