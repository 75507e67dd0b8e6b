"""The runs that train: a network of a study by a protocol, its pruning, and its int8 file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.datasets import Dataset, DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.networks import score_network
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress
from edgecnn.study.definition import Study, Variant
from edgecnn.tasks.score import accuracy_to_json

if TYPE_CHECKING:
    from edgecnn.nets.network import Network


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of one command have in common."""

    data: str
    classes: int
    input_shape: tuple[int, ...]
    protocol: str = "c"
    epochs: float | None = None  # None: the protocol's own
    seed: int = 0
    teacher: str | None = None  # a checkpoint, or NAME=WEIGHTS
    samples: int | None = None  # to train on; None: all
    data_dir: str | None = None
    download: bool = False

    def of_results(self) -> dict[str, Any]:
        """Return what figures depend on."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in ("data_dir", "download")
        }

    def dataset(self) -> Dataset:
        """Return the data set.

        Raises:
            EdgecnnError: it is not there.
        """
        return open_dataset(DataSource(self.data, folder=self.data_dir, download=self.download))


@dataclass(frozen=True)
class TrainingRun:
    """One network trained from fresh weights."""

    variant: Variant
    settings: Settings
    cost: float = 1.0

    @property
    def name(self) -> str:
        """`resnet101-v11.c-20-0`: the variant, the protocol, its epochs and the seed."""
        epochs = "own" if self.settings.epochs is None else f"{self.settings.epochs:g}"
        return f"{self.variant.name}.{self.settings.protocol}-{epochs}-{self.settings.seed}"

    def identity(self) -> Mapping[str, Any]:
        """Return the network and the settings."""
        return {"kind": "training", "model": self.variant.model, **self.settings.of_results()}

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Train, or go on with a training that was stopped, and judge the network on all evaluation samples."""
        from edgecnn.compress.protocols import training_protocol
        from edgecnn.compress.train import train
        from edgecnn.nets.network import build

        settings, data = self.settings, self.settings.dataset()
        normalization = normalization_of(settings.protocol, data)
        config = training_protocol(settings.protocol, epochs=settings.epochs, seed=settings.seed)
        if len(data.shape) != 3 or data.shape[1] < 32:
            config = replace(config, augmentation=replace(config.augmentation, shift=0, flip=False))
        network = build(self.variant.model, classes=settings.classes, channels=settings.input_shape[0])
        training = data.training if settings.samples is None else data.training.take(settings.samples)
        state = folder / f"{self.name}.training.safetensors"
        teacher = None if settings.teacher is None else teacher_of(settings, normalization).module
        module = train(network.module, training, config, normalization, progress, teacher=teacher, state=state)
        figures = save(
            replace(network, module=module), data, normalization, folder / f"{self.name}.safetensors", progress
        )
        state.unlink(missing_ok=True)
        return {"epochs": config.epochs, **figures}


def normalization_of(protocol: str, data: Dataset) -> Normalization | None:
    """Return how the pixels of *data* become inputs: as the papers have it for their protocols, else its own."""
    return _PUBLISHED_NORMALIZATION.get((protocol, data.name), data.normalization)


_CIFAR100 = Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
_PUBLISHED_NORMALIZATION = {
    ("a", "cifar10"): Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ("a", "cifar100"): _CIFAR100,
    ("b", "cifar100"): _CIFAR100,
}


def teacher_of(settings: Settings, normalization: Normalization | None) -> Network:
    """Return the network that teaches, for inputs by *normalization*.

    Raises:
        EdgecnnError: it is not there, or has another number of classes.
    """
    from edgecnn.compress.teacher import Renormalised
    from edgecnn.nets.network import build

    assert settings.teacher is not None
    name, _, weights = (
        (settings.teacher, "", "") if Path(settings.teacher).is_file() else settings.teacher.partition("=")
    )
    teacher = build(name, weights=weights or None, classes=settings.classes, channels=settings.input_shape[0])
    own = teacher.normalization
    if own is None or normalization is None or own == normalization:
        return teacher
    return replace(teacher, module=Renormalised(teacher.module, normalization, own))


def save(
    network: Network,
    data: Dataset,
    normalization: Normalization | None,
    path: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write the checkpoint of a trained *network* and return its accuracy on all evaluation samples."""
    progress("judging")
    accuracy = accuracy_to_json(score_network(network, data.evaluation, normalization))
    assert network.checkpoint is not None
    described = replace(
        network.checkpoint,
        input_shape=data.shape,
        normalization=normalization,
        labels=data.labels,
        accuracy=accuracy,
        data=data.name,
    )
    described.save(path, network.module)
    return {"accuracy": accuracy, "checkpoint": path.name}


def training_runs(study: Study, variants: Sequence[Variant], settings: Settings) -> list[TrainingRun]:
    """Return a run for each of *variants*, each with its multiply-adds as its cost.

    Raises:
        EdgecnnError: unknown protocol or network, or the teacher is not there.
    """
    from edgecnn.compress.protocols import training_protocol

    training_protocol(settings.protocol, epochs=settings.epochs)
    if settings.teacher is not None:
        teacher_of(settings, None)
    return [TrainingRun(variant, settings, cost_of(study, variant)) for variant in variants]


def cost_of(study: Study, variant: Variant) -> float:
    """Return the multiply-adds of a network for one input; 1 where it takes no such input, as its run will say.

    Raises:
        EdgecnnError: unknown network.
    """
    from edgecnn.nets.size import UnsuitableInputError, size_of

    try:
        return float(size_of(variant.model, study.classes, study.input_shape).operations.macs)
    except UnsuitableInputError:
        return 1.0


def checkpoint_of(folder: Path, name: str) -> Path:
    """Return the checkpoint that the run *name* left.

    Raises:
        EdgecnnError: it left none.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise EdgecnnError(f"no trained network at '{path}': edgecnn study run trains it")
    return path


def checkpoints_of(folder: Path, run: TrainingRun) -> list[Path]:
    """Return the checkpoints that *run* and the pruning of its network left, in the order of their iterations."""
    pruned = folder.glob(f"{run.name}.pruned*.safetensors")
    places = {path: path.stem.rpartition(".pruned")[2] for path in pruned}
    numbered = sorted((int(number), path) for path, number in places.items() if number.isdigit())
    dense = folder / f"{run.name}.safetensors"
    return [*([dense] if dense.is_file() else []), *(path for _, path in numbered)]
