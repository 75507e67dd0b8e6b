"""edgecnn: make a trained CNN small and fast enough for a phone or a board, and prove it."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: Public name → the module that has it; imported on first use, so that `import edgecnn` is light.
_PUBLIC = {
    "Accuracy": "edgecnn.measurement",
    "Artifact": "edgecnn.artifact",
    "DeviceProfile": "edgecnn.device",
    "EdgecnnError": "edgecnn.errors",
    "Effort": "edgecnn.benchmarks.measure",
    "FitReport": "edgecnn.fit",
    "Graph": "edgecnn.formats",
    "Measurement": "edgecnn.measurement",
    "Normalization": "edgecnn.normalization",
    "check_fit": "edgecnn.fit",
    "device_names": "edgecnn.device",
    "load_device": "edgecnn.device",
    "measure": "edgecnn.benchmarks.measure",
    "measure_files": "edgecnn.benchmarks.plan",
    "read_graph": "edgecnn.formats",
    "read_measurements": "edgecnn.measurement",
    "run_file": "edgecnn.benchmarks.execute",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgecnn' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
