"""Classification by reconstruction: each class has an autoencoder, and the one that errs least names the class."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgecnn.normalization import Normalization

_NO_ALARM = 0.99  # the share of the samples it is trained on that raise no alarm


class Autoencoders(nn.Module):
    """One autoencoder a class; a class scores by minus the mean squared error that its autoencoder leaves.

    Where there is a single autoencoder, that of the first class, the others stand for an alarm: their error is a fixed
    one, learned, which samples of the first class seldom exceed.
    """

    def __init__(
        self, autoencoders: Sequence[nn.Module], classes: int, *, sharpness: float = 1.0, discrimination: float = 0.0
    ) -> None:
        super().__init__()
        self.autoencoders = nn.ModuleList(autoencoders)
        has_autoencoder = (torch.arange(classes) < len(autoencoders)).float()
        self.register_buffer("has_autoencoder", has_autoencoder, persistent=False)
        self.has_autoencoder: torch.Tensor
        self.alarm = nn.Parameter(torch.ones(int(len(autoencoders) < classes)))
        self.sharpness = sharpness  # score for a unit of error
        self.discrimination = discrimination  # weight of the cross entropy beside the error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [N, ...] to scores [N, classes]."""
        x = x.flatten(1)
        reconstructed = torch.cat([autoencoder(x) for autoencoder in self.autoencoders], 1)
        errors = (reconstructed.reshape(x.shape[0], -1, x.shape[1]) - x[:, None]).square().mean(2)
        if len(self.alarm):
            errors = errors * self.has_autoencoder + self.alarm * (1 - self.has_autoencoder)
        return -self.sharpness * errors

    def loss(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return what training makes small, of scores [N, classes] and labels [N].

        Each autoencoder learns to reconstruct its own class; samples of a class without one teach nothing. The cross
        entropy beside it lets an autoencoder also learn what is not of its class, the blend of a generative and a
        discriminative loss (Lasserre, Bishop and Minka 2006, "Principled hybrids of generative and discriminative
        models"). The alarm's error follows that quantile of the others' which raises no alarm.
        """
        known = labels < len(self.autoencoders)
        scores, labels = scores[known], labels[known]
        errors = scores.gather(1, labels[:, None]) / -self.sharpness
        excess = errors.detach() - self.alarm
        quantile = torch.maximum(_NO_ALARM * excess, (_NO_ALARM - 1) * excess)
        loss = (errors.sum() + quantile.sum()) / max(1, len(labels))
        if self.discrimination:
            loss = loss + self.discrimination * functional.cross_entropy(scores, labels)
        return loss


def hourglass(features: int, *hidden: int) -> nn.Sequential:
    """Return linear layers from *features* through *hidden* widths and back to *features*, with ReLU between them."""
    widths = (features, *hidden, features)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class DigitAutoencoders(Autoencoders):
    """One autoencoder a digit, 784-512-256-128-64-128-256-512-784; what comes out are pixels of 0…1."""

    input_shape = (1, 28, 28)
    normalization = Normalization()

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        pixels = channels * 28 * 28
        super().__init__(
            [hourglass(pixels, 512, 256, 128, 64, 128, 256, 512).append(nn.Sigmoid()) for _ in range(classes)],
            classes,
            sharpness=300.0,
            discrimination=0.003,  # with ten times as much, deep ones learn to err on others before all else
        )
        # Drawn as He et al. 2015 (arXiv:1502.01852) do: with torch's own, narrower draw, what enters so deep an
        # hourglass has faded before it comes out, and the training stays at the mean of all digits.
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)


class FraudAutoencoder(Autoencoders):
    """One autoencoder of normal transactions, 29-24-16-8-16-24-29; what it cannot reconstruct raises the alarm."""

    input_shape = (29,)

    def __init__(self, classes: int = 2, channels: int = 29) -> None:
        super().__init__([hourglass(channels, 24, 16, 8, 16, 24)], classes)


def autoencoder_mnist(classes: int = 10, channels: int = 1) -> DigitAutoencoders:
    """Return ten autoencoders of MNIST's digits with fresh weights: 11.5 M parameters, 11.5 M MACs."""
    return DigitAutoencoders(classes, channels)


def autoencoder_fraud(classes: int = 2, channels: int = 29) -> FraudAutoencoder:
    """Return the autoencoder of normal transactions with fresh weights: 2.5 k parameters, 2.6 k MACs."""
    return FraudAutoencoder(classes, channels)
