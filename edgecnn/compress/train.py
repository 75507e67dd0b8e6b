"""Train or fine-tune a classifier: AdamW, one-cycle schedule, shifts of the images where asked for."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, ready
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to train."""

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 3e-3  # the peak of the cycle
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    shift: int = 0  # images move by up to so many pixels each way
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise EdgecnnError(f"a learning rate is a number above 0, not {self.learning_rate:g}")


def train(
    module: nn.Module,
    training: Samples,
    config: TrainConfig,
    normalization: Normalization | None,
    progress: Progress = silent,
) -> nn.Module:
    """Return a trained copy of *module*, in evaluation mode; the same seed gives the same network on one machine.

    Raises:
        EdgecnnError: samples without labels, labels the network has no class for, or a loss that is no number.
    """
    if training.labels is None:
        raise EdgecnnError("training needs labelled samples")
    if config.epochs == 0:
        return copy.deepcopy(module).eval()
    trained = copy.deepcopy(module).train()
    # The incomplete last batch waits for the next epoch's order: batch norm cannot learn from a single sample.
    steps = max(1, len(training) // config.batch_size)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, config.epochs * steps)
    rng = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # for dropout
        for epoch in range(config.epochs):
            order = training.shuffled(config.seed + epoch).batched(config.batch_size)
            for batch in itertools.islice(order, steps):
                assert batch.y is not None
                x = torch.from_numpy(ready(batch.x, normalization))
                logits = trained(_shifted(x, config.shift, rng))
                loss = _loss(logits, torch.from_numpy(batch.y), config)
                if not torch.isfinite(loss):
                    raise EdgecnnError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate")
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            progress("training", epoch + 1, config.epochs)
    return trained.eval()


def _loss(logits: torch.Tensor, labels: torch.Tensor, config: TrainConfig) -> torch.Tensor:
    if logits.ndim != 2 or int(labels.max()) >= logits.shape[1]:
        raise EdgecnnError(
            f"the network gives scores of shape {list(logits.shape[1:])}, the data has classes up to {labels.max()}; "
            "use the data set it is for"
        )
    return functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)


def _shifted(x: torch.Tensor, shift: int, rng: np.random.Generator) -> torch.Tensor:
    """Return images [N, C, H, W] moved by up to *shift* pixels, zeros moving in; vectors are left as they are."""
    if shift == 0 or x.ndim != 4:
        return x
    down, right = rng.integers(-shift, shift + 1, 2)
    padded = functional.pad(x, (shift, shift, shift, shift))
    top, left = shift + down, shift + right
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
