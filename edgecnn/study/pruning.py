"""How many weights each iteration of a study's pruning leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgecnn.study.definition import Study, Variant
from edgecnn.study.published import PublishedIteration, read_published_pruning


@dataclass(frozen=True)
class Iteration:
    """The counts of one network after some iterations of pruning.

    *nonzero* is what the papers print: all parameters before the first iteration, then the weights of convolutions
    that are left and those of linear layers, without biases and batch norms.
    """

    variant: Variant
    iteration: int
    convolution_weights: int  # that are left
    linear_weights: int  # never pruned
    all_params: int
    dense_weights: int  # of convolutions, before the first iteration
    published: PublishedIteration | None

    @property
    def nonzero(self) -> int:
        """What the papers print as non-zeroed."""
        return self.convolution_weights + self.linear_weights if self.iteration else self.all_params

    @property
    def sparsity(self) -> float:
        """The share of zeros among the weights of convolutions and linear layers."""
        total = self.dense_weights + self.linear_weights
        return 1 - (self.convolution_weights + self.linear_weights) / total

    def to_json(self) -> dict[str, Any]:
        """Return the counts for `--json`."""
        printed = self.published
        return {
            "variant": self.variant.number,
            "iteration": self.iteration,
            "counted": {
                "nonzero": self.nonzero,
                "convolution_weights": self.convolution_weights,
                "linear_weights": self.linear_weights,
                "sparsity": self.sparsity,
            },
            "published": printed
            and {
                "nonzero": printed.nonzero,
                "accuracy_percent": printed.accuracy_percent,
                "sparsity_percent": printed.sparsity_percent,
            },
        }


def nonzero_after(weights: int, iterations: int, share: float) -> Iterator[int]:
    """Yield how many of *weights* are left after 0, 1, … *iterations*, each of which takes a rounded share of them.

    Example:
        >>> list(nonzero_after(131591, 2, 0.2))
        [131591, 105273, 84218]
    """
    yield weights
    for _ in range(iterations):
        weights -= round(share * weights)
        yield weights


def count_iterations(study: Study, variant: Variant) -> tuple[Iteration, ...]:
    """Return the counts after each iteration of pruning *variant*, the first before any.

    Raises:
        EdgecnnError: the study does not prune it, its model is unknown, or the published figures are broken.
    """
    pruning, published = study.pruning_of(variant), read_published_pruning(study)
    from edgecnn.nets.size import size_of

    size = size_of(variant.model, study.classes, study.input_shape)
    weights, linear = size.convolution_weights, size.linear_weights
    return tuple(
        Iteration(variant, index, left, linear, size.params, weights, published.get((variant.number, index)))
        for index, left in enumerate(nonzero_after(weights, pruning.iterations, pruning.share))
    )
