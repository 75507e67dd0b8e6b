"""Training: distillation, augmentation, and going on after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgecnn.compress.train as trains
from edgecnn.compress.augment import Augmentation, augmented
from edgecnn.compress.teacher import Ensemble
from edgecnn.compress.train import TrainConfig, train
from edgecnn.compress.training_state import module_of
from edgecnn.datasets import Dataset, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.networks import score_network
from edgecnn.host import read_host
from edgecnn.nets.autoencoder import Autoencoders, hourglass
from edgecnn.nets.network import Network, build
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples

CONFIG = TrainConfig(
    epochs=3, batch_size=64, optimizer="sgd", learning_rate=0.05, augmentation=Augmentation(1, True, 2)
)


class StoppedError(Exception):
    """What a test stops a training with, between two steps."""


def weights(module: torch.nn.Module) -> torch.Tensor:
    """Return all weights of *module* in one row."""
    return torch.cat([tensor.flatten().float() for tensor in module.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stopped_training_goes_on_to_the_same_network(tmp_path: Path, optimizer: str) -> None:
    """StoppedError in the middle of an epoch, a training ends with the weights of one that was not stopped."""
    data = open_dataset("digits")
    samples, start = data.training.take(256), build("edgecnn:digits-cnn").module
    config = replace(CONFIG, optimizer=optimizer, learning_rate=0.01)

    def stop(step: str, done: int = 0, total: int | None = None) -> None:
        if done == 7:  # of 4 steps an epoch: one epoch is whole
            raise StoppedError

    whole = train(start, samples, config, data.normalization)
    state = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(start, samples, config, data.normalization, stop, state=state)
    steps: list[int] = []
    resumed = train(
        start, samples, config, data.normalization, lambda _step, done=0, total=None: steps.append(done), state=state
    )
    assert steps[0] == 5
    assert torch.equal(weights(whole), weights(resumed))


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    """A state file that another network or another config left is not gone on with."""
    data = open_dataset("digits")
    samples, start, state = data.training.take(64), build("edgecnn:digits-cnn").module, tmp_path / "state.safetensors"
    train(start, samples, CONFIG, data.normalization, state=state)
    with pytest.raises(EdgecnnError, match="another training"):
        train(start, samples, replace(CONFIG, learning_rate=0.01), data.normalization, state=state)
    state.write_bytes(b"no tensors")
    with pytest.raises(EdgecnnError, match="not a training that can be resumed"):
        train(start, samples, CONFIG, data.normalization, state=state)


@pytest.mark.slow
def test_a_pupil_learns_the_scores_of_its_teacher() -> None:
    """Trained by its teacher alone, a network comes to give nearly the teacher's answers."""
    data = open_dataset("digits")
    config = TrainConfig(epochs=6, learning_rate=1e-2, teacher_weight=1.0)
    teacher = train(build("edgecnn:digits-cnn").module, data.training, config, data.normalization)
    student = train(build("edgecnn:digits-cnn").module, data.training, config, data.normalization, teacher=teacher)
    assert data.normalization is not None
    x = torch.from_numpy(data.normalization.apply(next(iter(data.evaluation.batched(256))).x))
    with torch.no_grad():
        assert (student(x).argmax(1) == teacher(x).argmax(1)).float().mean() > 0.95


class Counting(nn.Module):
    """A teacher that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build("edgecnn:digits-cnn").module
        self.asked: list[torch.Tensor] = []

    def __deepcopy__(self, memo: object) -> Counting:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs [N, 1, 8, 8] to scores [N, 10]."""
        if len(x) > 2:  # two samples show in which order of memory it runs
            self.asked.append(x.clone())
        return self.net(x)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_views_return_with_what_the_teacher_said_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two cached epochs a teacher is asked in two epochs of five; stopped, or without room, it ends the same."""
    data = open_dataset("digits")
    samples, start, config = data.training.take(256), build("edgecnn:digits-cnn").module, replace(CONFIG, epochs=5)
    teacher = Counting()

    def trained(cache_soft_targets: int, state: Path | None = None, progress: Progress = silent) -> torch.Tensor:
        teacher.asked.clear()
        given = replace(config, cache_soft_targets=cache_soft_targets)
        return weights(train(start, samples, given, data.normalization, progress, teacher=teacher, state=state))

    def stop(step: str, done: int = 0, total: int | None = None) -> None:
        if done == 13:  # of 4 steps an epoch: three are whole
            raise StoppedError

    apart = trained(0)
    assert len(teacher.asked) == 5 * 4
    assert torch.equal(trained(5), apart)
    whole = trained(2)
    assert len(teacher.asked) == 2 * 4
    assert not torch.equal(whole, apart)
    state = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        trained(2, state, stop)
    assert torch.equal(trained(2, state), whole)
    monkeypatch.setattr("edgecnn.compress.train._MOST_KEPT", 3 * 64 * 10 * 4)  # of three batches
    assert torch.equal(trained(2), whole)
    assert len(teacher.asked) == 5 * 4 - 3 - 3  # of the first view three batches are kept, and it returns twice
    assert torch.equal(teacher.asked[3], teacher.asked[8])  # the fourth batch of the first view, asked again
    with pytest.raises(EdgecnnError, match="cache_soft_targets is a number of epochs, 0 or more, not -1"):
        replace(config, cache_soft_targets=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="trains on the GPU")
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (("avx2", "avx512f"), torch.float32),
        (("avx512f", "avx512_bf16"), torch.bfloat16),
        (("avx512f", "amx_int8", "amx_bf16"), torch.bfloat16),
        (("neon", "bf16"), torch.float32),
    ],
)
def test_a_cpu_that_multiplies_bfloat16_trains_in_it(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], expected: torch.dtype
) -> None:
    """What the layers give in training is bfloat16 just where the CPU has products of it that were measured."""
    monkeypatch.setattr(trains, "read_host", lambda: replace(read_host(), features=features))
    monkeypatch.setattr(trains, "_has_bfloat16", trains._has_bfloat16.__wrapped__)  # its answer is kept otherwise
    given: list[torch.dtype] = []

    class Witness(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given.append((y := super().forward(x)).dtype)
            return y

    samples = Samples.of(np.random.default_rng(0).random((8, 4), np.float32), np.arange(8) % 2)
    train(Witness(4, 2), samples, TrainConfig(epochs=1, batch_size=8), None)
    assert given == [expected]


def test_augmentation_moves_mirrors_and_erases() -> None:
    """Images come out shifted whole, mirrored, or with a square of zeros; every image on its own."""
    x = torch.arange(1.0, 1 + 64 * 3 * 8 * 8).reshape(64, 3, 8, 8)
    rng = np.random.default_rng(0)
    flipped = augmented(x, Augmentation(flip=True), rng)
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(flipped, x, strict=True)])
    assert (mirrored ^ same).all()
    assert 10 < mirrored.sum() < 54
    erased = augmented(x, Augmentation(erase=4), rng)
    holes = (erased == 0).sum((1, 2, 3))
    assert holes.max() == 3 * 16
    assert holes.min() >= 3 * 4
    shifted = augmented(x, Augmentation(shift=2), rng)
    kept = {(int((image[0] == 0).all(1).sum()), int((image[0] == 0).all(0).sum())) for image in shifted}
    assert kept <= {(rows, columns) for rows in range(3) for columns in range(3)}
    assert len(kept) > 4
    assert torch.equal(augmented(x[:, 0, 0], Augmentation(1, True, 2), rng), x[:, 0, 0])


@pytest.mark.slow
def test_a_network_with_a_loss_of_its_own_is_trained_by_it() -> None:
    """An autoencoder trained on digits comes to reconstruct its own class better, which no cross entropy asks of it."""

    class Flat(Autoencoders):
        """One autoencoder a digit, for images of 8x8."""

        def __init__(self) -> None:
            super().__init__([hourglass(64, 12) for _ in range(10)], 10)

    data = open_dataset("digits")
    trained = train(Flat(), data.training, TrainConfig(epochs=8, learning_rate=1e-2), data.normalization)
    batch = next(iter(data.evaluation.batched(512)))
    assert data.normalization is not None
    assert batch.y is not None
    with torch.no_grad():
        scores = trained(torch.from_numpy(data.normalization.apply(batch.x))).numpy()
    assert -scores[np.arange(len(batch.y)), batch.y].mean() < 0.05
    assert (scores.argmax(1) == batch.y).mean() > 0.85


def test_gradients_that_are_no_numbers_leave_the_state_before(tmp_path: Path) -> None:
    """The last step of an epoch has a finite loss and a gradient of NaN: what is kept is the epoch before."""
    data = open_dataset("digits")

    class Net(nn.Module):
        """Linear, until its ninth step."""

        steps = 0

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.linear(x.flatten(1))
            Net.steps += self.training
            if self.training and Net.steps == 8:
                scores.register_hook(lambda gradient: gradient * float("nan"))
            return scores

    start, state = Net(), tmp_path / "state.safetensors"
    with pytest.raises(
        EdgecnnError, match=r"linear\.weight became NaN or infinite in epoch 2; lower the learning rate"
    ):
        train(start, data.training.take(256), replace(CONFIG, epochs=2), data.normalization, state=state)
    assert weights(module_of(state, start)).isfinite().all()


def test_a_teacher_gets_what_its_pupil_gets() -> None:
    """Networks that write over their input do not take it from each other."""
    data = open_dataset("digits")
    given: list[float] = []

    class Writing(nn.Module):
        """Scales its input in place."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 2:  # two samples show in which order of memory it runs
                given.append(float(x.mean()))
            x *= 0.5
            return self.linear(x.flatten(1))  # type: ignore[no-any-return]

    teacher = Ensemble([Writing(), Writing()])
    train(Writing(), data.training.take(64), TrainConfig(epochs=1), data.normalization, teacher=teacher)
    assert len(given) == 3
    assert given == [given[0]] * 3


def test_a_network_of_several_outputs_is_told() -> None:
    """One that gives auxiliary scores while it is trained cannot be, and the line says what to do."""
    data = open_dataset("digits")

    class Twice(nn.Module):
        """Gives its scores twice while it is trained."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> object:
            scores = self.linear(x.flatten(1))
            return (scores, scores) if self.training else scores

    with pytest.raises(EdgecnnError, match=r"returns 2 tensors, and task classification has a loss for one; build it"):
        train(Twice(), data.training.take(64), TrainConfig(epochs=1), data.normalization)


class Viewing(nn.Module):
    """Flattens by `view`, which only runs on memory in the usual order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 1, 8, 8] to [N, 10]."""
        return self.head(self.conv(x).view(x.shape[0], -1))  # type: ignore[no-any-return]


def test_a_network_that_needs_the_usual_order_of_memory_is_trained(data: Dataset) -> None:
    """`x.view(n, -1)` after a convolution is common; such a network teaches and learns like any other."""
    samples = data.training.take(200)
    trained = train(Viewing(), samples, TrainConfig(epochs=1), data.normalization, teacher=Viewing())
    assert isinstance(trained, Viewing)
    accuracy = score_network(Network("viewing", trained), samples, data.normalization)
    assert accuracy.n == 200


def test_half_an_epoch_shows_half_of_the_samples(data: Dataset) -> None:
    """The training ends in the middle of its last epoch, and its cycle with it."""
    steps: list[tuple[int, int | None]] = []
    config = TrainConfig(epochs=1.5, batch_size=20)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def note(_step: str, done: int = 0, total: int | None = None) -> None:
        steps.append((done, total))

    train(net, data.training.take(200), config, data.normalization, note)
    assert steps[-1] == (15, 15)
