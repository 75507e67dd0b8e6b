"""A file that broke its recipe's limits can be looked into under the name it was given."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.datasets import DataSource
from edgecnn.evaluate.compare import compare

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"


def test_a_rejected_file_is_compared_and_measured(tmp_path: Path) -> None:
    """`NAME.tflite.rejected` is read, compared and measured as the file it is."""
    rejected = Path(shutil.copy(CLASSIFIER, tmp_path / "net.tflite.rejected"))
    shape = Artifact.open(rejected).inputs[0].shape
    result = compare(CLASSIFIER, rejected, samples=4, data=DataSource(input_shape=(shape[3], shape[1], shape[2])))
    assert result.parity.max_abs_diff == 0
    effort = BenchmarkConfig(processes=1, warmup_s=0.01, min_time_s=0.02, min_values=10)
    assert measure(rejected, effort=effort).format == "tflite"
