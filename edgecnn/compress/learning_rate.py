"""How the learning rate changes while a network trains: by one cycle, or whenever the loss stops falling."""

from __future__ import annotations

from typing import Any

import torch

SCHEDULES = ("one_cycle", "plateau")

_FACTOR = 0.1  # of the learning rate on a plateau
_PATIENCE = 5  # epochs without a better loss, by at least the threshold, before it falls
_THRESHOLD = 1e-4  # as a share of the best loss
_LOWEST = 1e-5


class OneCycle(torch.optim.lr_scheduler.OneCycleLR):
    """One cycle over all steps (Smith and Topin 2019, arXiv:1708.07120); momentum falls as the rate rises."""

    def end_epoch(self, loss: float) -> None:
        """Note the mean training loss of an epoch, which changes nothing here."""

    @property
    def is_over(self) -> bool:
        """Whether more epochs would bring nothing: never, as the cycle ends with the last step."""
        return False


class Plateau(torch.optim.lr_scheduler.LRScheduler):
    """The rate falls to a tenth, at least to 1e-5, when the loss has not fallen for 5 epochs.

    After *stop_after* epochs without a lower loss, training ends.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> plateau = Plateau(optimizer)
        >>> for _ in range(7):
        ...     plateau.end_epoch(1.0)
        >>> round(optimizer.param_groups[0]["lr"], 6), plateau.is_over
        (0.001, False)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, stop_after: int = 10) -> None:
        self.optimizer = optimizer
        self.best: list[float] = []  # the loss that the next one must beat by the threshold; none before the first
        self.lowest: list[float] = []
        self.bad_epochs = 0
        self.since_lowest = 0
        self.stop_after = stop_after

    def step(self, epoch: int | None = None) -> None:
        """Do nothing: the rate changes between epochs alone."""

    def end_epoch(self, loss: float) -> None:
        """Note the mean training loss of an epoch, and lower the rate where it is time."""
        if not self.best or loss < self.best[0] * (1 - _THRESHOLD):
            self.best, self.bad_epochs = [loss], 0
        else:
            self.bad_epochs += 1
        if not self.lowest or loss < self.lowest[0]:
            self.lowest, self.since_lowest = [loss], 0
        else:
            self.since_lowest += 1
        if self.bad_epochs > _PATIENCE:
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * _FACTOR, _LOWEST)
            self.bad_epochs = 0

    @property
    def is_over(self) -> bool:
        """Whether more epochs would bring nothing."""
        return self.since_lowest >= self.stop_after

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept between epochs; the optimizer keeps the rate."""
        return {key: getattr(self, key) for key in ("best", "lowest", "bad_epochs", "since_lowest")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for key, value in state_dict.items():
            setattr(self, key, value)
