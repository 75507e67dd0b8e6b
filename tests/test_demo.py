"""What the demo tells its report; the demo itself is run by `make demo`."""

from __future__ import annotations

from pathlib import Path

from edgecnn.compress.prune import Size
from edgecnn.demo import DEVICES, _facts
from edgecnn.device import load_device
from edgecnn.measurement import Accuracy
from edgecnn.pipeline import CompressResult, ExportResult


def test_warnings_of_every_export_reach_the_report() -> None:
    """What an export warned of stands in the report's facts, the same thing once."""
    accuracy, size = Accuracy(9, 10), Size(10, 20)
    compressed = CompressResult(Path("d/digits-small.safetensors"), size, size, accuracy, accuracy)
    exports = tuple(ExportResult((), None, warnings) for warnings in (("hot",), ("hot", "noise"), ()))
    assert _facts(Path("d"), compressed, exports).warnings == ("hot", "noise")


def test_each_device_is_checked_with_a_file_made_for_it() -> None:
    """Microcontrollers get the file of the recipe mcu, the others that of the recipe board."""
    kinds = {recipe: {load_device(name).kind for name in names} for recipe, names in DEVICES.items()}
    assert kinds == {"board": {"linux"}, "mcu": {"mcu"}}
