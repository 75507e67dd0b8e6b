"""What a network is judged as follows from what is said, not from sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from edgecnn.checkpoint import Checkpoint
from edgecnn.compress.objective import Objective
from edgecnn.compress.train import TrainConfig, train
from edgecnn.errors import EdgecnnError
from edgecnn.pipeline import Training, Uniform, compress_model, measure_sensitivity
from edgecnn.samples import Samples
from edgecnn.tasks import load_task

NETS = """
from torch import nn

def table():
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 10))

def back():
    net = table()
    net.edgecnn_task = "reconstruction"
    return net

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.a, self.b = nn.Linear(10, 16), nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, x):
        x = self.body(x).relu()
        return {"a": self.a(x), "b": (self.b(x),)}

def pair():
    return Pair()

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
    np.savez(tmp_path / "values.npz", x=rows, y=rng.random((200, 10)))
    np.savez(tmp_path / "marks.npz", x=rows, y=rng.integers(0, 2, (200, 10)))
    np.savez(tmp_path / "masks.npz", x=images, y=rng.integers(0, 3, (200, 8, 8)))
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(200) % 3)
    return tmp_path


def test_labels_make_a_classifier(nets: Path) -> None:
    """Ten features into ten classes are judged by their answers."""
    found = measure_sensitivity("sized_alike:table", data=f"npz:{nets / 'rows.npz'}", ratios=(0.5,))
    assert found.score.name == "accuracy"
    assert all(row.score.name == "accuracy" for row in found.rows)


def test_a_network_says_that_it_gives_back_its_input(nets: Path) -> None:
    """Then its error counts, with labels and without."""
    for name in ("rows.npz", "bare.npz"):
        found = measure_sensitivity("sized_alike:back", data=f"npz:{nets / name}", ratios=(0.5,))
        assert found.score.name == "energy explained"
        assert found.rows[0].loss_increase.mean > 0


def test_without_a_word_the_original_is_what_is_right(nets: Path) -> None:
    """No labels and no task: a cut is judged by how much of the network's own outputs stays."""
    found = measure_sensitivity("sized_alike:table", data=f"npz:{nets / 'bare.npz'}", ratios=(0.5,))
    assert (found.score.name, found.score.value) == ("fidelity", 1.0)
    assert 0 < found.rows[0].score_lost.mean <= 2


def test_what_does_not_fit_is_not_guessed(nets: Path) -> None:
    """Class numbers and an output of maps: one line says what a classifier gives."""
    with pytest.raises(EdgecnnError, match=r"one score for each class, and there are 3 x 8 x 8 values a sample"):
        measure_sensitivity("sized_alike:maps", data=f"npz:{nets / 'images'}.npz")
    with pytest.raises(EdgecnnError, match=r"one score for each class, and there are 3 x 8 x 8 values a sample"):
        compress_model("sized_alike:maps", nets / "s.safetensors", data=f"npz:{nets / 'images'}.npz")
    assert not list(nets.glob("s.safetensors*"))


@pytest.mark.parametrize(
    ("net", "data", "task", "metric"),
    [
        ("table", "values", "regression", "R²"),
        ("table", "marks", "multilabel", "mAP"),
        ("table", "bare", None, "fidelity"),
        ("back", "bare", None, "energy explained"),
        ("maps", "masks", "segmentation", "mIoU"),
        ("pair", "bare", None, "fidelity"),
    ],
)
def test_any_task_is_compressed(nets: Path, net: str, data: str, task: str | None, metric: str) -> None:
    """By its own loss where it has one, else by the raw outputs of the original; the score of its task is told."""
    path = nets / "s.safetensors"
    source, training = f"npz:{nets / data}.npz", Training(epochs=1, batch_size=16)
    found = compress_model(f"sized_alike:{net}", path, Uniform(0.25), data=source, task=task, training=training)
    assert (found.score_before.name, found.score_after.name) == (metric, metric)
    assert found.after.params < found.before.params
    document = found.to_json()
    assert document["accuracy"] is None
    assert document["score"]["after"]["name"] == metric
    checkpoint = Checkpoint.read(path)
    assert checkpoint is not None
    assert checkpoint.score is not None
    assert checkpoint.task == (task or ("reconstruction" if net == "back" else None))


def test_a_task_without_a_loss_needs_a_teacher() -> None:
    """Raw outputs are learned from somebody."""
    samples = Samples.of(np.zeros((8, 4), np.float32))
    with pytest.raises(EdgecnnError, match=r"labelled samples, or a teacher"):
        train(
            nn.Linear(4, 2),
            samples,
            TrainConfig(epochs=1, batch_size=4),
            None,
            objective=Objective.of(load_task("none")),
        )


def test_an_unknown_word_of_a_network_is_told() -> None:
    """A class that declares a task nobody knows."""
    net = nn.Linear(2, 2)
    net.edgecnn_task = "detectoin"  # type: ignore[assignment]
    with pytest.raises(EdgecnnError, match="unknown edgecnn_task 'detectoin'; did you mean 'detection'"):
        measure_sensitivity(net, data=(np.zeros((20, 2), np.float32), np.arange(20) % 2))
