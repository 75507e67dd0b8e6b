"""What a notebook shows of edgecnn's objects."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecnn
from edgecnn.artifact import Artifact
from edgecnn.evaluate.verify import ExportedFile
from edgecnn.pipeline.result import CompressResult
from edgecnn.pipeline.subject import load_subject
from edgecnn.short_repr import short_repr

CLASSIFIER = Path(__file__).parent / "data/classifier.tflite"
#: Public dataclasses of a few numbers and names, for which Python's own text is short enough.
PLAIN = {"BenchmarkConfig", "Budget", "NetworkFigures", "Normalization", "Resize", "Search", "Sparsity", "Uniform"}


def objects() -> list[Any]:
    """Return an object of each kind that holds much."""
    pixels = np.zeros((50, 1, 8, 8), np.uint8)
    data = edgecnn.open_dataset((pixels, np.arange(50) % 10))
    artifact = Artifact.open(CLASSIFIER)
    network = edgecnn.build("edgecnn:digits-cnn")
    return [
        data,
        data.evaluation,
        next(iter(data.evaluation)),
        artifact,
        artifact.graph,
        artifact.graph.operators[0],
        artifact.inputs[0],
        network,
        network.checkpoint,
        load_subject(network, data=data),
        edgecnn.load_device("rpi4:4gb"),
        edgecnn.check_fit(CLASSIFIER, edgecnn.load_device("stm32h7a3")),
        edgecnn.load_recipe("phone"),
        edgecnn.check_installation(),
    ]


def test_objects_are_shown_in_one_short_line() -> None:
    """No array, list or weight is printed, however much an object holds; the type comes first."""
    for one in objects():
        shown = repr(one)
        assert len(shown) < 200, shown
        assert "\n" not in shown
        assert shown.startswith(f"{type(one).__name__}("), shown


def test_the_line_says_what_matters() -> None:
    """Names, shapes and normalizations are in it, defaults and functions are not."""
    data = edgecnn.open_dataset({"x": np.zeros((20, 1, 8, 8), np.uint8), "y": np.arange(20) % 2})
    assert (
        repr(data) == "Dataset(name='arrays', normalization=unit, labels=('class 0', 'class 1'), task='classification')"
    )
    assert repr(data.evaluation) == "Samples(images=uint8[20, 1, 8, 8], labels=int64[20], indices=int64[4])"
    assert repr(edgecnn.TaskChoice(task="regression")) == "TaskChoice(task='regression')"


@pytest.mark.parametrize("name", sorted(set(edgecnn.__all__) - PLAIN))
def test_every_public_dataclass_has_a_short_text(name: str) -> None:
    """A new public dataclass takes the short text too, or is named among those that need none."""
    public = getattr(edgecnn, name)
    if isinstance(public, type) and dataclasses.is_dataclass(public):
        assert public.__repr__ is short_repr


@pytest.mark.parametrize("kind", [ExportedFile, CompressResult])
def test_results_have_a_short_text(kind: type) -> None:
    """What the functions return is shown shortly as well."""
    assert kind.__repr__ is short_repr
