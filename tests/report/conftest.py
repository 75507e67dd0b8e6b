"""A report of real files: one measured, one rejected, one measured alone; devices that fit and one that does not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import Effort, measure
from edgecnn.benchmarks.parity import Parity, Part
from edgecnn.benchmarks.verify import ExportedFile
from edgecnn.device import MemoryRegion, load_device
from edgecnn.fit import check_fit
from edgecnn.measurement import Accuracy
from edgecnn.report import NetworkFigures, ReportFacts, write_report

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"
HOSTILE = """<script>alert("x")</script> & 'y' $z$"""


@dataclass(frozen=True)
class Written:
    """What a report was written from, and the page."""

    arguments: dict[str, Any]
    page: str


@pytest.fixture(scope="session")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The arguments of `write_report`."""
    folder = tmp_path_factory.mktemp("report")
    names = ("net.fp32.tflite", "net.w8a8.tflite", "<b>bold<&.tflite")
    paths = [Path(shutil.copy(CLASSIFIER, folder / name)) for name in names]
    accuracy = Accuracy(529, 539)
    judged = Parity(0.25, 100.0, 1.0, 530, 539, (Part(0, 100.0, 1.0),))
    files = [
        ExportedFile(Artifact.open(paths[0]), accuracy, replace(judged, noise=0.0, parts=()), (), None, paths[0]),
        ExportedFile(Artifact.open(paths[1]), accuracy, judged, (("RELU", "kept"),), "SQNR of 2.0 dB", paths[1]),
    ]
    effort = Effort(processes=2, warmup_s=0.01, min_time_s=0.05, min_values=20)
    measurements = [
        replace(measure(paths[0], effort=effort), warnings=("it was hot",), assumptions=("pixels, we think",)),
        replace(measure(paths[2], effort=effort), warnings=()),
    ]
    board = load_device("nrf5340")
    tight = replace(board, name="tight-board", memory=(MemoryRegion("ram", 1500), MemoryRegion("flash", 30_000)))
    fits = [check_fit(paths[0], device) for device in (load_device("rpi4"), board, tight)]
    facts = ReportFacts(
        model=HOSTILE,
        data="digits",
        before=NetworkFigures(1000, 5000, Accuracy(530, 539)),
        after=NetworkFigures(500, 2500, accuracy),
        steps=("Pruned half of it.", HOSTILE),
        warnings=("no luck today",),
        commands=("edgecnn export a.safetensors --data digits",),
    )
    return {"title": "A report", "facts": facts, "files": files, "measurements": measurements, "fits": fits}


@pytest.fixture(scope="session")
def written(arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The page of `arguments`."""
    path = write_report(tmp_path_factory.mktemp("page") / "report.html", **arguments)
    return Written(arguments, path.read_text(encoding="utf-8"))
