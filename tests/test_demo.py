"""What the demo tells its report; the demo itself is run by `make demo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgecnn.demo import _facts
from edgecnn.pipeline import Budget, CompressResult, ExportResult
from edgecnn.pipeline.budget import NetworkStatus
from edgecnn.pipeline.judging import verdict
from edgecnn.tasks.classification import Top1


def test_warnings_of_every_export_reach_the_report() -> None:
    """What an export warned of stands in the report's facts, the same thing once."""
    size, right = NetworkStatus(10, 20), np.zeros((10, 4), int)
    judged = verdict(Top1(), right, right, Budget())
    compressed = CompressResult(path=Path("d/digits-small.safetensors"), before=size, after=size, verdict=judged)
    exports = tuple(ExportResult((), None, warnings) for warnings in (("hot",), ("hot", "noise"), ()))
    assert _facts(Path("d"), compressed, exports).warnings == ("hot", "noise")
