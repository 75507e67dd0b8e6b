"""Whether the loss increase that `edgecnn sensitivity` ranks cuts by is what is left of it after training.

    python benchmarks/loss_after_training.py MODEL [--weights FILE] [--ratio 0.5,1.0]

Every layer of a network of CIFAR-10 is cut alone, and what is left is trained for a short while by the original. Beside
the accuracy that this leaves stands what was seen before it: the accuracy lost and the loss increase, with batch norm's
statistics and the spread of scores as they were, and following the cut. All on the tenth of the training images that
is held out. The correlations go to benchmarks/tables/layer-optimization/loss_after_training.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgecnn.compress.augment import PHOTOGRAPHS
from edgecnn.compress.prune import cut
from edgecnn.compress.ranking import spearman
from edgecnn.compress.sensitivity import SensitivityConfig, sensitivity
from edgecnn.compress.train import TrainConfig, train
from edgecnn.compress.units import find_units
from edgecnn.datasets import open_dataset
from edgecnn.nets.network import build
from edgecnn.normalization import Normalization, preprocess
from edgecnn.pipeline.judging import SHARES
from edgecnn.samples import Samples

RESULT = Path(__file__).parent / "tables" / "layer-optimization" / "loss_after_training.json"
TRAINED_ON = 12_800  # images, once
TRAINING = TrainConfig(epochs=1, batch_size=128, optimizer="sgd", learning_rate=0.01, augmentation=PHOTOGRAPHS)


def accuracy(module: nn.Module, samples: Samples, normalization: Normalization | None) -> float:
    """Return the share of *samples* that *module* classifies right."""
    correct = 0
    with torch.no_grad():
        for batch in samples.batched(250):
            scores = module(torch.from_numpy(np.ascontiguousarray(preprocess(batch.x, normalization))))
            correct += int((scores.argmax(1) == torch.from_numpy(batch.y)).sum())
    return correct / len(samples)


def main() -> None:
    """Judge every cut before and after training, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--ratio", default="0.5,1.0")
    given = parser.parse_args()
    data = open_dataset("cifar10")
    network = build(given.model, weights=given.weights, classes=10, channels=3)
    normalization = network.normalization or data.normalization
    others, judges = data.training.split(SHARES["training"])
    config = SensitivityConfig(ratios=tuple(float(ratio) for ratio in given.ratio.split(",")), agreement=1)
    plain, recalibrated = (
        sensitivity(network.module, data.shape, judges, config, normalization, calibration=calibration)
        for calibration in (None, others)
    )
    units = find_units(network.module, data.shape)
    rows = []
    for before, after in zip(plain.rows, recalibrated.rows, strict=True):
        assert before.score_lost is not None
        assert after.score_lost is not None
        smaller = cut(network.module, data.shape, {before.unit: before.ratio}, units=units).module
        trained = train(smaller, others.take(TRAINED_ON, seed=1), TRAINING, normalization, teacher=network.module)
        row = {
            "unit": before.unit,
            "ratio": before.ratio,
            "accuracy_lost": {"plain": before.score_lost.mean, "recalibrated": after.score_lost.mean},
            "loss_increase": {"plain": before.loss_increase.mean, "recalibrated": after.loss_increase.mean},
            "accuracy_after_training": accuracy(trained, judges, normalization),
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    left = np.array([row["accuracy_after_training"] for row in rows])
    correlations = {
        f"{what}, {how}": {
            "pearson": float(np.corrcoef(values, -left)[0, 1]),
            "spearman": spearman(values, -left),
        }
        for what in ("accuracy_lost", "loss_increase")
        for how in ("plain", "recalibrated")
        for values in [np.array([row[what][how] for row in rows])]  # type: ignore[index]
    }
    print(json.dumps(correlations, indent=1))
    document = {
        "network": network.name,
        "method": "measured",
        "trained_on": TRAINED_ON,
        "samples": len(judges),
        "correlations": correlations,
        "cuts": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
