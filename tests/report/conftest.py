"""Pages of real files: one measured, one rejected, one int8; devices that fit and one that does not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.benchmarks.predict import Prediction
from edgecnn.device import MemoryRegion, load_device
from edgecnn.evaluate.files import Evaluation
from edgecnn.fit import check_fit
from edgecnn.report import NetworkFigures, ReportFacts
from edgecnn.report.devices import predict_on
from edgecnn.report.facts import Contents, ReportedFile
from edgecnn.report.page import render_page
from edgecnn.report.verification import Verification
from edgecnn.tasks.score import share
from tests.tflite_builder import Builder

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"
HOSTILE = """<script>alert("x")</script> & 'y' $z$"""
BRIEF = BenchmarkConfig(processes=2, warmup_s=0.01, min_time_s=0.05, min_values=20)


@dataclass(frozen=True)
class Written:
    """What a page was made from, and the page."""

    contents: Contents
    page: str


def write_int8(path: Path, dtype: str = "int8") -> Path:
    """Write a classifier of 8x8 grey images into ten classes, of int8 throughout unless *dtype* says otherwise."""
    b = Builder(dtype)
    image = b.tensor((1, 8, 8, 1))
    path.write_bytes(b.file([image], [b.dense(b.mean(b.conv(image, 8)), 10)]))
    return path


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What a page shows: four files, two measured, and three devices."""
    folder = tmp_path_factory.mktemp("report")
    names = ("net.fp32.tflite", "net.other.tflite", "<b>bold<&.tflite")
    paths = [Path(shutil.copy(CLASSIFIER, folder / name)) for name in names]
    small = write_int8(folder / "net.w8a8.tflite")
    accuracy = share("accuracy", 529, 539)
    confusion = [[0, 0, 53], [1, 1, 50], [8, 1, 5], [8, 8, 44], [9, 3, 1]]
    judged = share("accuracy", 529, 539, confusion=confusion)
    files = (
        ReportedFile(Artifact.open(paths[0]), Verification("digits", accuracy, is_identical=True)),
        ReportedFile(
            Artifact.open(paths[1]),
            Verification("digits", accuracy, sqnr_db=20.0, worst="channel 7 of output 0",
                         float_operators=("RELU kept",), rejected="SQNR of 2.0 dB"),
        ),
        ReportedFile(Artifact.open(paths[2]), failure="litert cannot load it: no luck"),
        ReportedFile(Artifact.open(small), None, Evaluation((judged,), ("assumed unit",))),
    )  # fmt: skip
    measured = measure(paths[0], effort=BRIEF)
    slower = tuple(replace(run, values_ns=tuple(2 * value for value in run.values_ns)) for run in measured.runs)
    measurements = (
        replace(measured, warnings=("it was hot",), assumptions=("pixels, we think",)),
        replace(measured, file=str(small), precision="w8a8", runs=slower, warnings=(), scores=(judged,)),
    )
    board = load_device("nrf5340")
    memory = (MemoryRegion("ram", 1500), MemoryRegion("flash", 30_000))
    tight = check_fit(paths[0], replace(board, name="tight-board", memory=memory))
    predictions = (
        *predict_on(files, [load_device(name) for name in ("rpi4", "nrf5340")]),
        Prediction(files[0].artifact, "tight-board", None, "no coefficients for it", tight),
    )
    facts = ReportFacts(
        model=HOSTILE,
        data="digits",
        before=NetworkFigures(1000, 5000, share("accuracy", 530, 539)),
        after=NetworkFigures(500, 2500, accuracy),
        steps=("Pruned half of it.", HOSTILE),
        warnings=("no luck today",),
        commands=("edgecnn export a.safetensors --data digits",),
    )
    return Contents("A report", facts, files, measurements, predictions, tuple("0123456789"))


@pytest.fixture(scope="session")
def written(contents: Contents) -> Written:
    """The page of `contents`."""
    return Written(contents, render_page(contents))
