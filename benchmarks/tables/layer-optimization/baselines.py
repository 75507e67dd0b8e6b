"""Train the networks that the tables start from.

    python benchmarks/tables/layer-optimization/baselines.py vgg16 FOLDER

writes FOLDER/vgg16.safetensors. All are trained on nine tenths of CIFAR-10's training images; the other tenth, of each
class alike, is what compression judges by. A training that was stopped goes on where it is started again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from edgecnn.compress.augment import PHOTOGRAPHS
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import open_dataset
from edgecnn.nets.evaluate import accuracy_of
from edgecnn.nets.network import build

BASELINES = {
    "vgg16": TrainConfig(24, 128, "sgd", 0.08, 5e-4, 0.1, PHOTOGRAPHS),
    "vgg16-compact": TrainConfig(30, 128, "sgd", 0.1, 5e-4, 0.1, PHOTOGRAPHS),
    "alexnet": TrainConfig(40, 128, "sgd", 0.03, 5e-4, 0.1, PHOTOGRAPHS),
}

HELD_OUT = 0.1


def main(name: str, folder: Path) -> None:
    """Train *name* as its row says, and write the checkpoint with what it reaches on the images held out."""
    data = open_dataset("cifar10")
    fitting, held_out = data.training.split(HELD_OUT)
    network = build(f"edgecnn:{name}", classes=10, channels=3)
    started = time.monotonic()

    def show(step: str, done: int = 0, total: int | None = None) -> None:
        if total and done % (total // (4 * config.epochs)) == 0:
            print(f"{time.monotonic() - started:.0f} s: {step} {done} of {total}", flush=True)

    config = BASELINES[name]
    module = train(
        network.module, fitting, config, data.normalization, show, state=folder / f"{name}.training.safetensors"
    )
    trained = replace(network, module=module)
    accuracy = accuracy_of(trained, held_out, data.normalization)
    assert network.checkpoint is not None
    checkpoint = replace(
        network.checkpoint,
        input_shape=data.shape,
        normalization=data.normalization,
        labels=data.labels,
        history=({"step": "train", **asdict(config), "data": "cifar10", "held_out": HELD_OUT},),
    )
    checkpoint.save(folder / f"{name}.safetensors", module)
    print(json.dumps({"name": name, "held_out": accuracy.to_json(), "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
