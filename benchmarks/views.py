"""What it saves of a training that a teacher's scores return (`edgecnn compress --views`), and what it costs.

    python benchmarks/views.py MODELS FOLDER

MODELS holds the given weights, resnet20-cifar10.safetensors and resnet56-cifar10.safetensors. ResNet-20 with half
of its channels is trained on nine tenths of CIFAR-10's training images under ResNet-56, in turns without
views and with them, and judged on the other tenth. Both networks had seen that tenth, so its accuracies are too high,
alike. Time is the median of a step, with the teacher asked and with scores kept. A run that was stopped goes on with
what is in FOLDER; the result goes to benchmarks/tables/views.json.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from edgecnn.compress.augment import PHOTOGRAPHS
from edgecnn.compress.prune import PruneConfig, prune, size_of
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import Dataset, open_dataset
from edgecnn.files import write_whole
from edgecnn.nets.evaluate import accuracy_of
from edgecnn.nets.network import Network, build

RESULT = Path(__file__).parent / "tables" / "views.json"
EPOCHS = 24
VIEWS = (0, 6)
SEEDS = (0, 1)
BATCH = 128
HELD_OUT = 0.1


def trained(pupil: Network, teacher: Network, data: Dataset, views: int, seed: int, folder: Path) -> dict[str, Any]:
    """Return the accuracy of *pupil* after a training, and the median step in ms while the teacher is asked and after.

    A training that goes on asks for what its first part had kept: steps are told from where it goes on.
    """
    fitting, held_out = data.training.split(HELD_OUT)
    config = TrainConfig(EPOCHS, BATCH, "sgd", 0.05, augmentation=PHOTOGRAPHS, views=views, seed=seed)
    seen: list[tuple[int, float]] = []

    def note(step: str, done: int = 0, total: int | None = None) -> None:
        seen.append((done, time.perf_counter()))
        if total and done % (total // EPOCHS) == 0:
            print(f"views {views}, seed {seed}: {step} {done} of {total}", flush=True)

    state = folder / f"views-{views}-{seed}.training.safetensors"
    module = train(pupil.module, fitting, config, data.normalization, note, teacher=teacher.module, state=state)
    an_epoch = len(fitting) // BATCH
    first = seen[0][0] // an_epoch if seen else 0
    steps: dict[str, list[float]] = {"asked": [], "kept": []}
    for (_, before), (done, after) in pairwise(seen):
        epoch, step = divmod(done - 1, an_epoch)
        if step:  # the first of an epoch waits for the last one's end
            steps["kept" if views and epoch - first >= views else "asked"].append(1e3 * (after - before))
    accuracy = accuracy_of(replace(pupil, module=module), held_out, data.normalization)
    return {
        "views": views,
        "seed": seed,
        "accuracy": accuracy.to_json(),
        "step_ms": {kind: median(times) for kind, times in steps.items() if times},
    }


def main(models: Path, folder: Path) -> None:
    """Run what is not in FOLDER yet, and write the result."""
    data = open_dataset("cifar10")
    teacher, original = (
        build(f"edgecnn:{name}", weights=models / f"{name}-cifar10.safetensors", classes=10, channels=3)
        for name in ("resnet56", "resnet20")
    )
    pupil = replace(original, module=prune(original.module, data.shape, PruneConfig(0.5)))
    runs = []
    for seed in SEEDS:
        for views in VIEWS:
            done = folder / f"views-{views}-{seed}.json"
            if not done.exists():
                write_whole(done, json.dumps(trained(pupil, teacher, data, views, seed, folder)))
            runs.append(json.loads(done.read_text()))
    host = {"processor": platform.processor(), "machine": platform.machine(), "threads": torch.get_num_threads()}
    document = {
        "epochs": EPOCHS,
        "batch": BATCH,
        "size": asdict(size_of(pupil.module, data.shape)),
        "host": host,
        "runs": runs,
    }
    write_whole(RESULT, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
