"""What a network is judged as follows from what is said, not from sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from edgecnn.compress.objective import task_of
from edgecnn.errors import EdgecnnError
from edgecnn.pipeline import compress_model, measure_sensitivity

NETS = """
from torch import nn

def table():
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 10))

def back():
    net = table()
    net.edgecnn_task = "reconstruction"
    return net

def maps():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The networks, as a module `sized_alike` of their user's, beside data for them."""
    (tmp_path / "sized_alike.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    rows, images = rng.random((200, 10), dtype=np.float32), rng.random((200, 3, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "rows.npz", x=rows, y=np.arange(200) % 10)
    np.savez(tmp_path / "bare.npz", x=rows)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(200) % 3)
    return tmp_path


def test_labels_make_a_classifier(nets: Path) -> None:
    """Ten features into ten classes are judged by their answers."""
    found = measure_sensitivity("sized_alike:table", data=f"npz:{nets / 'rows.npz'}", ratios=(0.5,))
    assert found.accuracy is not None
    assert all(row.accuracy is not None for row in found.rows)


def test_a_network_says_that_it_gives_back_its_input(nets: Path) -> None:
    """Then its error counts, with labels and without."""
    for name in ("rows.npz", "bare.npz"):
        found = measure_sensitivity("sized_alike:back", data=f"npz:{nets / name}", ratios=(0.5,))
        assert found.accuracy is None
        assert found.rows[0].loss_increase.mean > 0


@pytest.mark.parametrize(
    ("net", "data", "told"),
    [
        ("table", "bare", r"have no labels, so the network cannot be judged.*edgecnn_task = \"reconstruction\""),
        ("maps", "images", r"has outputs of shape \[3, 8, 8\], which are not class scores"),
    ],
)
def test_what_does_not_follow_is_not_guessed(nets: Path, net: str, data: str, told: str) -> None:
    """One line says what is missing, though the output has the input's size."""
    with pytest.raises(EdgecnnError, match=told):
        measure_sensitivity(f"sized_alike:{net}", data=f"npz:{nets / data}.npz")


@pytest.mark.parametrize(("net", "data"), [("maps", "images"), ("back", "rows")])
def test_compress_refuses_what_is_no_classifier(nets: Path, net: str, data: str) -> None:
    """Before any work, and nothing is written."""
    with pytest.raises(EdgecnnError, match=r"not class scores|only trains classifiers"):
        compress_model(f"sized_alike:{net}", nets / "s.safetensors", data=f"npz:{nets / data}.npz")
    assert not list(nets.glob("s.safetensors*"))


@pytest.mark.parametrize(
    ("said", "labelled", "told"),
    [("detection", True, "unknown edgecnn_task 'detection'"), ("classification", False, "no labels to judge")],
)
def test_a_task_that_cannot_be_is_told(said: Any, labelled: bool, told: str) -> None:
    """A name that is not known, and a classifier without labels."""
    net = nn.Linear(2, 2)
    net.edgecnn_task = said
    with pytest.raises(EdgecnnError, match=told):
        task_of(net, labelled=labelled)
