"""What a start loads: a board has no torch, and nobody waits for what is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[1] / "../shared/models/mlperf-tiny-ic-int8.tflite"

LOADED = """
import sys
before = set(sys.modules)
{body}
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
print(*sorted(loaded), file=sys.stderr)
"""
COMMAND = """
from edgecnn.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code in (0, 1), end.code
"""
TABLE = {"rich", "pygments", "markdown_it", "mdurl"}


def top_level(body: str) -> set[str]:
    """Return the top-level modules, the standard library's apart, that running *body* loads."""
    run = subprocess.run([sys.executable, "-c", LOADED.format(body=body)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split()) - {"_virtualenv", "__mp_main__"}


def test_import_loads_only_edgecnn() -> None:
    """`import edgecnn` loads nothing but itself."""
    assert top_level("import edgecnn") == {"edgecnn"}


def test_help_loads_click_alone() -> None:
    """`edgecnn --help` loads click and nothing else."""
    assert top_level(COMMAND.format(arguments=["--help"])) == {"edgecnn", "click"}


def test_devices_loads_no_runtime() -> None:
    """`edgecnn devices` loads what draws its table and nothing else: no torch, no runtime."""
    assert top_level(COMMAND.format(arguments=["devices"])) <= {"edgecnn", "click", *TABLE}


@pytest.mark.skipif(not MODEL.is_file(), reason=f"no model at {MODEL}")
def test_fit_loads_no_runtime() -> None:
    """`edgecnn fit` reads a .tflite file without torch, without a runtime and without onnx."""
    loaded = top_level(COMMAND.format(arguments=["fit", str(MODEL), "--device", "stm32h7a3"]))
    assert loaded <= {"edgecnn", "click", "numpy", *TABLE}
