"""What is asked of a compression: `Uniform` or `Sparsity` say how much, `Search` how to look for cuts, `Training` how.

Nothing here imports torch, and the defaults stand here alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.errors import EdgecnnError
from edgecnn.short_repr import short_repr
from edgecnn.units import check_fraction

if TYPE_CHECKING:
    from edgecnn.compress.criteria import Criterion
    from edgecnn.nets.network import Model

#: How filters are ranked if nobody says.
CRITERION = "l2"


@dataclass(frozen=True)
class Uniform:
    """The same fraction of the filters of each layer goes.

    Example:
        >>> edgecnn.Uniform(0.5, round_to=8)
        Uniform(pruning_ratio=0.5, criterion='l2', round_to=8)
    """

    pruning_ratio: float = 0.5  # of the channels of every prunable layer, in [0, 1)
    criterion: str | Criterion = CRITERION  # a name in `CRITERIA`, `package.module:function`, or a function
    round_to: int = 1  # channel counts become multiples of it

    def __post_init__(self) -> None:
        check_fraction("pruning ratio", self.pruning_ratio)
        if self.round_to < 1:
            raise EdgecnnError(f"round_to is at least 1, not {self.round_to}")


@dataclass(frozen=True)
class Sparsity:
    """The smallest weights become 0 step by step, with a training after each; shapes and dense files stay as large.

    Example:
        >>> edgecnn.Sparsity(0.8).epochs_between
        1
    """

    share: float  # of the weights of convolutions and linear layers that become 0, in [0, 1)
    epochs_between: float = 1  # of tuning after each step

    def __post_init__(self) -> None:
        check_fraction("sparsity", self.share)
        _check_between(self.epochs_between)


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search for cuts that meet a `Budget`.

    Example:
        >>> edgecnn.Search(order="random").share
        0.25
    """

    order: str = "greedy"
    share: float = 0.25  # of the bytes, MACs or activations left, that a round takes at most
    epochs_between: float | None = None  # of tuning after each round; None: one, and no more than show 25 000 samples
    layers: bool = True  # whether layers and blocks may go whole
    criterion: str = CRITERION  # a name in `CRITERIA`, or `package.module:function` or `FILE.py:function`
    #: Channel counts become multiples of it; None: of what the budget's device computes at once, else of 1.
    round_to: int | None = None
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75)  # of a layer's filters, tried alone
    samples: int = 512  # that every cut is judged on, and more where the ranking is not clear
    agreement: float = 0.95  # how well the ranking must be known; a round takes the first of it alone
    filters: bool = True  # whether filters may go
    substitutes: tuple[str, ...] = ()  # blocks that may take the place of plain convolutions, names in `SUBSTITUTES`

    def __post_init__(self) -> None:
        for block in self.substitutes:
            SUBSTITUTES.where(block)
        if not (self.filters or self.layers or self.substitutes):
            raise EdgecnnError("the search has nothing to cut: allow filters, layers or substitutes")
        if not 0 < self.share < 1:
            raise EdgecnnError(f"the fraction that a round removes is above 0 and below 1, not {self.share:g}")
        if self.epochs_between is not None:
            _check_between(self.epochs_between)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the networks of a compression are trained.

    Example:
        >>> edgecnn.Training(epochs=5, optimizer="sgd", learning_rate=0.05).batch_size
        64
    """

    __repr__ = short_repr

    #: Of the training at the end, 0.5 is half of one; None: 10, and with a `Budget` as many whole ones as show 150 000
    #: samples, from 1 to 10.
    epochs: float | None = None
    learning_rate: float = 3e-3  # the peak of each training's one cycle
    optimizer: str = "adamw"  # or "sgd"
    batch_size: int = 64
    augment: bool | None = None  # whether images are moved and mirrored; None: those that may be photographs
    #: After so many epochs of a training with a teacher its batches return, with the teacher's scores as they were; 0:
    #: each epoch has batches of its own.
    cache_soft_targets: int = 0
    #: Networks that teach in the original's place, by the mean of their scores: as they are, checkpoints, or
    #: `MODEL=WEIGHTS`. With `Uniform` there is no teacher but by this.
    teachers: Sequence[Model] = ()


def _check_between(epochs: Any) -> None:
    if not 0 <= epochs < math.inf:
        raise EdgecnnError(f"the epochs between rounds are 0 or more, not {epochs:g}")
