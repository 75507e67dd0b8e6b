"""The worker program: what goes to boards, and what it does with samples."""

from __future__ import annotations

import ast
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.runtimes import worker_program
from edgecnn.runtimes.worker import _noise, run_pack, time_session

OLDEST_PYTHON = (3, 9)


class Doubling:
    """A session that doubles batches of a fixed size and counts its calls."""

    def __init__(self, batch: int) -> None:
        self.inputs = [{"name": "x", "shape": [batch, 2], "dtype": "float32"}]
        self.outputs = [{"name": "y", "shape": [batch, 2], "dtype": "float32"}]
        self.calls = 0
        self.x: npt.NDArray[Any] = np.zeros((batch, 2), np.float32)

    def write(self, arrays: list[npt.NDArray[Any]]) -> None:
        """Take one whole batch."""
        assert list(arrays[0].shape) == self.inputs[0]["shape"]
        self.x = arrays[0].copy()

    def invoke(self) -> None:
        """Count the call."""
        self.calls += 1

    def read(self) -> list[npt.NDArray[Any]]:
        """Return twice the input, and an output without a batch."""
        return [2 * self.x, self.x.sum()]


@given(st.integers(1, 5), st.integers(1, 17))
def test_a_pack_is_run_in_batches_of_the_file(batch: int, count: int) -> None:
    """Whatever the batch of the file, n samples give n outputs in their order, the fill of the last batch left out."""
    session = Doubling(batch)
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    doubled, _ = run_pack(session, [x])
    np.testing.assert_array_equal(doubled, 2 * x)
    assert session.calls == -(-count // batch)


def test_short_calls_are_timed_several_at_once() -> None:
    """A value lasts at least as long as asked for, so that the clock does not count."""
    job = {"warmup_ns": 10**6, "min_time_ns": 0, "max_time_ns": 10**9, "min_values": 5, "min_value_ns": 10**6}
    session = Doubling(1)
    timed = time_session(session, job)
    assert timed["loops"] > 1
    assert len(timed["values_ns"]) == 5
    assert session.calls == 1 + timed["warmup"] + 5 * timed["loops"]


def test_the_time_for_slow_files_is_limited() -> None:
    """Measuring stops at the time limit, with at least one value, however many were asked for."""
    job = {"warmup_ns": 0, "min_time_ns": 0, "max_time_ns": 1, "min_values": 10**9, "min_value_ns": 0}
    assert len(time_session(Doubling(1), job)["values_ns"]) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
def test_timed_inputs_are_spread_over_their_range(dtype: str) -> None:
    """What a file is timed on fills the range of its type, and stays within bounds where it may be an index."""
    noise = _noise({"shape": [2, 16, 16, 3], "dtype": dtype})
    assert noise.shape == (2, 16, 16, 3)
    assert noise.dtype == dtype
    if noise.dtype.kind == "f":
        assert -1 <= noise.min() < -0.9
        assert 0.9 < noise.max() <= 1
        assert abs(noise.mean(dtype=float)) < 0.05
    elif noise.dtype.kind in "iu" and noise.dtype.itemsize == 1:
        assert len(np.unique(noise)) == 256
    else:
        assert not noise.any()


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_the_program_is_self_contained(runtime: str) -> None:
    """It runs on Python 3.9 by its syntax, and imports the standard library, numpy and its own files alone."""
    with zipfile.ZipFile(io.BytesIO(worker_program(runtime))) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()}
    own = {name.removesuffix(".py").replace("/", ".") for name in sources}
    for source in sources.values():
        for node in ast.walk(ast.parse(source, feature_version=OLDEST_PYTHON)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name in own or name.split(".")[0] in {"numpy", *sys.stdlib_module_names}, name


def test_the_program_is_the_same_each_time() -> None:
    """The same edgecnn makes the same bytes, so that a board that has the program keeps it."""
    assert worker_program("litert") == worker_program("litert")
    with zipfile.ZipFile(io.BytesIO(worker_program("litert"))) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_new_union_syntax_stays_in_annotations() -> None:
    """Every file of the program delays its annotations, which Python 3.9 could not evaluate."""
    with zipfile.ZipFile(io.BytesIO(worker_program("litert"))) as archive:
        for name in archive.namelist():
            source = archive.read(name).decode()
            assert " | None" not in source or "from __future__ import annotations" in source, Path(name).name
