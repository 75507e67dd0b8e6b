"""Train the networks that the tables start from.

    python benchmarks/tables/layer-optimization/baselines.py vgg16 FOLDER

writes FOLDER/vgg16.safetensors. All are trained on nine tenths of CIFAR-10's training images; the other tenth, of each
class alike, is what compression judges by. A training that was stopped goes on where it is started again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.compress.augment import PHOTOGRAPHS
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import open_dataset
from edgecnn.evaluate.networks import score_network
from edgecnn.nets.network import build
from edgecnn.tasks.score import accuracy_to_json

#: As PHOTOGRAPHS, and a square of 12 pixels blank: the second cycle is long enough to overfit the images.
BLANKED = replace(PHOTOGRAPHS, erase=12)


@dataclass(frozen=True)
class Baseline:
    """One network and how it is trained, in one cycle of the learning rate."""

    network: str
    config: TrainConfig
    start: str | None = None  # the baseline that it takes the weights of the same names and shapes from


#: VGG16's convolutions go through two cycles, the second behind the compact head, whose steps are shorter, and once
#: more through a short one under the classic head.
BASELINES = {
    "vgg16-start": Baseline(
        "vgg16",
        TrainConfig(
            epochs=24,
            batch_size=128,
            optimizer="sgd",
            learning_rate=0.08,
            weight_decay=5e-4,
            label_smoothing=0.1,
            augmentation=PHOTOGRAPHS,
        ),
    ),
    "vgg16-compact": Baseline(
        "vgg16-compact",
        TrainConfig(
            epochs=24,
            batch_size=128,
            optimizer="sgd",
            learning_rate=0.1,
            weight_decay=5e-4,
            label_smoothing=0.1,
            augmentation=BLANKED,
        ),
        start="vgg16-start",
    ),
    "vgg16": Baseline(
        "vgg16",
        TrainConfig(
            epochs=6,
            batch_size=128,
            optimizer="sgd",
            learning_rate=0.02,
            weight_decay=5e-4,
            label_smoothing=0.1,
            augmentation=BLANKED,
        ),
        start="vgg16-compact",
    ),
    "alexnet": Baseline(
        "alexnet",
        TrainConfig(
            epochs=30,
            batch_size=128,
            optimizer="sgd",
            learning_rate=0.03,
            weight_decay=5e-4,
            label_smoothing=0.1,
            augmentation=PHOTOGRAPHS,
        ),
    ),
}

HELD_OUT = 0.1


def main(name: str, folder: Path) -> None:
    """Train *name* as its row says, and write the checkpoint with what it reaches on the images held out."""
    data = open_dataset("cifar10")
    fitting, held_out = data.training.split(HELD_OUT)
    baseline = BASELINES[name]
    network = build(f"edgecnn:{baseline.network}", classes=10, channels=3)
    earlier = () if baseline.start is None else taken_over(network.module, folder / f"{baseline.start}.safetensors")
    started = time.monotonic()

    def show(step: str, done: int = 0, total: int | None = None) -> None:
        if total and done % (total // (4 * config.epochs)) == 0:
            print(f"{time.monotonic() - started:.0f} s: {step} {done} of {total}", flush=True)

    config = baseline.config
    module = train(
        network.module, fitting, config, data.normalization, show, state=folder / f"{name}.training.safetensors"
    )
    trained = replace(network, module=module)
    accuracy = accuracy_to_json(score_network(trained, held_out, data.normalization))
    assert network.checkpoint is not None
    checkpoint = replace(
        network.checkpoint,
        input_shape=data.shape,
        normalization=data.normalization,
        labels=data.labels,
        history=(*earlier, {"step": "train", **asdict(config), "data": "cifar10", "held_out": HELD_OUT}),
    )
    checkpoint.save(folder / f"{name}.safetensors", module)
    print(json.dumps({"name": name, "held_out": accuracy, "seconds": time.monotonic() - started}))


def taken_over(module: nn.Module, path: Path) -> tuple[Mapping[str, Any], ...]:
    """Load what fits of the weights in *path* into *module*, and return the history of that checkpoint."""
    checkpoint = Checkpoint.read(path)
    assert checkpoint is not None
    own = module.state_dict()
    fitting = {name: w for name, w in read_weights(path).items() if name in own and w.shape == own[name].shape}
    module.load_state_dict(own | fitting)
    return (*checkpoint.history, {"step": "start", "weights": path.name, "tensors": len(fitting)})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
