"""What caching a teacher's scores saves of a training, and what it costs (`edgecnn compress --cache-soft-targets`).

    python benchmarks/soft_target_cache.py accuracy MODELS FOLDER
    python benchmarks/soft_target_cache.py speed MODELS

MODELS holds the given weights, resnet20-cifar10.safetensors and resnet56-cifar10.safetensors. ResNet-20 with half of
its channels (to multiples of 16) is trained on nine tenths of CIFAR-10's training images under ResNet-56, without
a cache and with one, and judged on the other tenth. Both networks had seen that tenth, so both accuracies are too high.
A run that was stopped goes on with what is in FOLDER. `speed` measures steps with the teacher asked and without, by
turns on a quiet machine. The results go to benchmarks/tables/soft_target_cache.json.
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
from edgecnn.compress.prune import prune, size_of
from edgecnn.compress.settings import Uniform
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import Dataset, open_dataset
from edgecnn.evaluate.networks import score_network
from edgecnn.files import write_whole
from edgecnn.host import read_host
from edgecnn.nets.network import Network, build
from edgecnn.tasks.score import accuracy_to_json

RESULT = Path(__file__).parent / "tables" / "soft_target_cache.json"
CONFIG = TrainConfig(epochs=16, batch_size=128, optimizer="sgd", learning_rate=0.05, augmentation=PHOTOGRAPHS)
CACHED_EPOCHS = (0, 4)
HELD_OUT = 0.1
STEPS, TURNS = 20, 5  # of which the speed is the median


def accuracy(student: Network, teacher: Network, data: Dataset, folder: Path) -> dict[str, Any]:
    """Return the accuracy of *student* after a training with each number of cached epochs."""
    fitting, held_out = data.training.split(HELD_OUT)
    reached = {}
    for cache_soft_targets in CACHED_EPOCHS:
        state = folder / f"cache_soft_targets-{cache_soft_targets}.training.safetensors"
        config = replace(CONFIG, cache_soft_targets=cache_soft_targets)
        module = train(student.module, fitting, config, data.normalization, _told, teacher=teacher.module, state=state)
        reached[str(cache_soft_targets)] = accuracy_to_json(
            score_network(replace(student, module=module), held_out, data.normalization)
        )
    return reached


def speed(student: Network, teacher: Network, data: Dataset) -> dict[str, list[float]]:
    """Return the median step of each turn in ms, with the teacher asked and without it."""
    some, config = data.training.take(STEPS * CONFIG.batch_size), replace(CONFIG, epochs=1)
    taken: dict[str, list[float]] = {"asked": [], "kept": []}
    for _ in range(TURNS):
        for kind, guide in (("asked", teacher.module), ("kept", None)):
            times: list[float] = []
            train(
                student.module,
                some,
                config,
                data.normalization,
                lambda *_, times=times: times.append(time.perf_counter()),
                teacher=guide,
            )
            taken[kind].append(1e3 * median(after - before for before, after in pairwise(times)))
    return taken


def main(what: str, models: Path, *folder: Path) -> None:
    """Measure *what*, and write it beside what was measured before."""
    data = open_dataset("cifar10")
    teacher, original = (
        build(f"edgecnn:{name}", weights=models / f"{name}-cifar10.safetensors", classes=10, channels=3)
        for name in ("resnet56", "resnet20")
    )
    student = replace(original, module=prune(original.module, data.shape, Uniform(0.5, round_to=16)))
    document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    document |= {"training": asdict(CONFIG), "size": asdict(size_of(student.module, data.shape))}
    if what == "accuracy":
        document["accuracy"] = accuracy(student, teacher, data, *folder)
    else:
        host = {"machine": platform.machine(), "features": read_host().features, "threads": torch.get_num_threads()}
        document |= {"step_ms": speed(student, teacher, data), "host": host}
    write_whole(RESULT, json.dumps(document, indent=1) + "\n")


def _told(step: str, done: int = 0, total: int | None = None) -> None:
    if total and done % (total // CONFIG.epochs) == 0:
        print(f"{step} {done} of {total}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
