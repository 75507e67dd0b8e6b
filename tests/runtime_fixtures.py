"""Fixtures: a small real file, as little measuring as possible, and a runtime of a third party."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.benchmarks.measure import BenchmarkConfig

DATA = Path(__file__).parent / "data"

#: A runtime as somebody else would write it: the sum of each sample, in numpy.
SOURCE = """
import os
import sys
import time
import numpy as np

class Sum:
    formats = ("tflite",)
    install = "pip install sum-runtime"
    version = "1.0"
    interface = "sum"

    def __init__(self):
        {on_import}

    def open(self, path, threads):
        {on_load}
        return Session()

class Session:
    inputs = [dict(name="x", shape=[1, 8, 8, 1], dtype="float32")]
    outputs = [dict(name="y", shape=[1, 1], dtype="float32")]

    def write(self, arrays):
        self.x = arrays[0]

    def invoke(self):
        {on_invoke}

    def read(self):
        return [self.x.reshape(1, -1).sum(axis=1, keepdims=True)]

    def close(self):
        pass
"""

AddRuntime = Callable[..., str]


@pytest.fixture
def classifier() -> Path:
    """A .tflite file: float32 [1, 8, 8, 1] to [1, 10]."""
    return DATA / "classifier.tflite"


@pytest.fixture
def brief() -> BenchmarkConfig:
    """As little measuring as still is one."""
    return BenchmarkConfig(processes=3, warmup_s=0.01, min_time_s=0.01, min_values=4, max_time_s=5)


@pytest.fixture
def add_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddRuntime:
    """Install a third party's runtime `sum`, which does as told when imported, at load and when run."""

    def add(on_import: str = "pass", on_load: str = "pass", on_invoke: str = "pass") -> str:
        site = tmp_path / "site"
        module = f"sum_runtime_{abs(hash((str(tmp_path), on_import, on_load, on_invoke)))}"
        info = site / "sum_runtime-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sum-runtime\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edgecnn.runtime]\nsum = {module}:Sum\n")
        source = SOURCE.format(on_import=on_import, on_load=on_load, on_invoke=on_invoke)
        (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        return "sum"

    return add
