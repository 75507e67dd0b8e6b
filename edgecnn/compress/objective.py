"""The torch side of a task: what training lowers, and what a cut costs each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from edgecnn.errors import EdgecnnError
from edgecnn.nets.outputs import Tensors
from edgecnn.tasks.classification import Top1
from edgecnn.tasks.fidelity import Fidelity
from edgecnn.tasks.segmentation import IGNORED
from edgecnn.tasks.task import INPUT, ORIGINAL, TARGETS, Metric, Records, Task, judged_by

#: Turns raw outputs into what a metric takes.
Decode = Callable[[list[Any]], Any]

_WORST_LOSS = 100.0  # nats, in place of an infinity or a NaN
_LEAST_POWER = 1e-12


class Loss(Protocol):
    """What a task lowers in training, and by which a cut is judged."""

    def train(self, outputs: Tensors, x: torch.Tensor, y: Any, smoothing: float) -> torch.Tensor | None:
        """Return the loss of a batch; None: the task has no loss of its own, and learns from a teacher alone."""
        ...

    def distil(self, outputs: Tensors, teacher: Tensors, temperature: float) -> torch.Tensor:
        """Return how far a batch is from what a teacher says."""
        ...

    def each(
        self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of each sample [n], and its error as a share [n]: what a cut raises.

        *scale* widens class scores, so that a network that is less sure of the same answers has lost nothing.
        """
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Classification: the cross entropy; one output of a sigmoid is the probability of class 1."""

    def train(self, outputs: Tensors, x: torch.Tensor, y: Any, smoothing: float) -> torch.Tensor:
        """Return the cross entropy with smoothed labels."""
        return functional.cross_entropy(self._logits(outputs, y), y, label_smoothing=smoothing)

    def distil(self, outputs: Tensors, teacher: Tensors, temperature: float) -> torch.Tensor:
        """Return the divergence of the softened scores (Hinton et al. 2015, arXiv:1503.02531).

        Gradients of soft scores shrink with the square of the temperature (section 2 of the paper).
        """
        given, taught = (self._logits(one, None) for one in (outputs, teacher))
        others = raw_distance(outputs[1:], teacher[1:]) if len(outputs) > 1 else 0.0
        return others + temperature**2 * functional.kl_div(
            functional.log_softmax(given / temperature, 1),
            functional.log_softmax(taught / temperature, 1),
            reduction="batchmean",
            log_target=True,
        )

    def each(
        self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross entropy, and 1 less the probability that the scaled scores give the right class."""
        logits = self._logits(outputs, y)
        loss, scaled = (
            functional.cross_entropy(scores, y, reduction="none").nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)
            for scores in (logits, scale * logits)
        )
        return loss, 1 - scaled.neg().exp()

    def _logits(self, outputs: Tensors, y: Any) -> torch.Tensor:
        """Return logits [n, classes] of the first output.

        Raises:
            EdgecnnError: it is something else, or labels are beyond the classes.
        """
        logits = outputs[0].float()
        logits = logits.flatten(1) if logits.ndim == 4 and logits.shape[2:] == (1, 1) else logits
        if logits.ndim == 1 or logits.shape[1:] == (1,):
            p = logits.reshape(-1).clamp(1e-6, 1 - 1e-6)
            logits = torch.stack([torch.log1p(-p), p.log()], 1)
        if logits.ndim != 2 or (y is not None and int(y.max()) >= logits.shape[1]):
            known = "" if y is None else f", the data has classes up to {int(y.max())}"
            raise EdgecnnError(
                f"the network gives scores of shape {list(outputs[0].shape[1:])}{known}; use the data set it was "
                "trained on"
            )
        return logits


@dataclass(frozen=True)
class PixelCrossEntropy:
    """Segmentation: the cross entropy of each pixel that counts, class scores being resized to the label image."""

    def train(self, outputs: Tensors, x: torch.Tensor, y: Any, smoothing: float) -> torch.Tensor:
        """Return the mean over the pixels that count."""
        logits, mask = self._pixels(outputs, y)
        return functional.cross_entropy(logits, mask, ignore_index=-1, label_smoothing=smoothing)

    def distil(self, outputs: Tensors, teacher: Tensors, temperature: float) -> torch.Tensor:
        """Return the divergence of the softened scores, the mean over pixels."""
        given, taught = (_image(one).float() / temperature for one in (outputs, teacher))
        divergence = functional.kl_div(
            functional.log_softmax(given, 1), functional.log_softmax(taught, 1), reduction="none", log_target=True
        )
        return temperature**2 * divergence.sum(1).mean()

    def each(
        self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean cross entropy of an image's pixels, and 1 less the mean probability of the right class."""
        logits, mask = self._pixels(outputs, y)
        found = []
        for scores in (logits, scale * logits):
            loss = functional.cross_entropy(scores, mask, ignore_index=-1, reduction="none")
            found.append(loss.nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS))
        counts = (mask >= 0).flatten(1)
        n = counts.sum(1).clamp_min(1)
        loss = (found[0].flatten(1) * counts).sum(1) / n
        return loss, ((1 - found[1].flatten(1).neg().exp()) * counts).sum(1) / n

    def _pixels(self, outputs: Tensors, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits [n, classes, H, W] and the label images [n, H, W], -1 where a pixel does not count."""
        mask = torch.as_tensor(y, device=outputs[0].device).long()
        mask = torch.where((mask == IGNORED) | (mask < 0), -1, mask)
        logits = _image(outputs).float()
        if logits.shape[2:] != mask.shape[1:]:
            logits = functional.interpolate(logits, mask.shape[1:], mode="bilinear", align_corners=False)
        if int(mask.max()) >= logits.shape[1]:
            raise EdgecnnError(f"a label image holds class {int(mask.max())}, the network has {logits.shape[1]}")
        return logits, mask


def _image(outputs: Tensors) -> torch.Tensor:
    """Return the first output [n, classes, H, W].

    Raises:
        EdgecnnError: there is none.
    """
    for output in outputs:
        if output.ndim == 4 and output.shape[1] > 1:
            return output
    shapes = ", ".join(str(list(output.shape[1:])) for output in outputs)
    raise EdgecnnError(f"segmentation takes class scores [classes, H, W], and the network gives {shapes}")


@dataclass(frozen=True)
class SquaredError:
    """Values that are to be given: the mean squared error as a share of the power of what is right.

    Args:
        of_input: what is right is the input itself; else the targets.
        power: the mean square of the targets less their mean; None: of each sample itself.
    """

    of_input: bool
    power: float | None = None

    def train(self, outputs: Tensors, x: torch.Tensor, y: Any, smoothing: float) -> torch.Tensor:
        """Return the error of the batch, as a share."""
        return self._shares(outputs, x, y).mean()

    def distil(self, outputs: Tensors, teacher: Tensors, temperature: float) -> torch.Tensor:
        """Return how far the raw outputs are from the teacher's."""
        return raw_distance(outputs, teacher)

    def each(
        self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean squared error of each sample, and the same as a share."""
        given, right = self._pair(outputs, x, y)
        squares = (given - right).square().mean(1).nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)
        return squares, squares / self._power(right)

    def _shares(self, outputs: Tensors, x: torch.Tensor, y: Any) -> torch.Tensor:
        given, right = self._pair(outputs, x, y)
        return (given - right).square().mean(1) / self._power(right)

    def _power(self, right: torch.Tensor) -> torch.Tensor:
        power = right.square().mean(1) if self.power is None else torch.full_like(right[:, 0], self.power)
        return power.clamp_min(_LEAST_POWER)

    def _pair(self, outputs: Tensors, x: torch.Tensor, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        given = torch.cat([output.float().flatten(1) for output in (outputs[:1] if self.of_input else outputs)], 1)
        right = (x if self.of_input else torch.as_tensor(y, device=given.device)).float().reshape(len(given), -1)
        if given.shape != right.shape:
            what = "reconstructs its input" if self.of_input else "gives the targets"
            raise EdgecnnError(
                f"a network that {what} gives as many values as they have: {given.shape[1]} are given for "
                f"{right.shape[1]}"
            )
        return given, right


@dataclass(frozen=True)
class Distilled:
    """No loss of the task's own: the raw outputs follow those of a teacher, and no targets are needed."""

    def train(self, outputs: Tensors, x: torch.Tensor, y: Any, smoothing: float) -> None:
        """Return nothing."""

    def distil(self, outputs: Tensors, teacher: Tensors, temperature: float) -> torch.Tensor:
        """Return how far the raw outputs are from the teacher's."""
        return raw_distance(outputs, teacher)

    def each(
        self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean squared distance of each sample's outputs from the original's, and the same as a share."""
        given, right = (torch.cat([one.float().flatten(1) for one in tensors], 1) for tensors in (outputs, original))
        if given.shape != right.shape:
            raise EdgecnnError("the outputs have another shape than the original's")
        squares = (given - right).square().mean(1).nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)
        shares = [
            (one.float() - other.float()).square().flatten(1).mean(1)
            / other.float().square().flatten(1).mean(1).clamp_min(_LEAST_POWER)
            for one, other in zip(outputs, original, strict=True)
        ]
        return squares, torch.stack(shares).mean(0).nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)


def raw_distance(outputs: Tensors, teacher: Tensors) -> torch.Tensor:
    """Return the mean over outputs of the squared distance, as a share of the variance of the teacher's output.

    Raises:
        EdgecnnError: the shapes differ.
    """
    if [one.shape for one in outputs] != [one.shape for one in teacher]:
        shapes = [[list(one.shape[1:]) for one in tensors] for tensors in (outputs, teacher)]
        raise EdgecnnError(f"the network's outputs {shapes[0]} are not those of its teacher {shapes[1]}")
    shares = [
        (one - other).square().mean() / other.var(correction=0).clamp_min(_LEAST_POWER)
        for one, other in zip(outputs, teacher, strict=True)
    ]
    return torch.stack(shares).mean()


@dataclass(frozen=True)
class Objective:
    """What a network is trained for and judged by: its task's loss, and the metric that drops are counted in.

    Example:
        >>> from edgecnn.tasks import load_task
        >>> Objective.of(load_task("detection")).metric.name
        'mAP50-95'
    """

    task: str
    loss: Loss
    metric: Metric
    decode: Decode | None = None
    keeps_when_moved: bool = True  # whether a target is still right for an image that was shifted or mirrored

    @classmethod
    def of(cls, task: Task, decode: Decode | None = None, targets: Any = None) -> Objective:
        """Return the objective of *task*; *targets* are those of all samples, where they are numbers.

        The task `none` has the fidelity to the original, as has a metric that lacks targets.
        """
        usable = [one for one in task.metrics if targets is not None or judged_by(one) != TARGETS]
        metric = usable[0] if usable else Fidelity()
        labelled = targets is not None
        loss: Loss = Distilled()
        if task.name == "classification" and labelled:
            loss = CrossEntropy()
        elif task.name == "segmentation" and labelled:
            loss = PixelCrossEntropy()
        elif task.name == "regression" and labelled:
            values = np.asarray(targets, np.float64)
            loss = SquaredError(of_input=False, power=float(values.var()))
        elif task.name == "reconstruction":
            loss = SquaredError(of_input=True)
        moved = isinstance(loss, (CrossEntropy, Distilled)) or task.name == "reconstruction"
        return cls(task.name, loss, metric, decode, moved)

    def records(self, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any) -> Records:
        """Return what the metric makes of a batch, [n, ...].

        Raises:
            EdgecnnError: the outputs or the targets do not suit the metric.
        """
        own, right = self._taken(outputs), {TARGETS: y, INPUT: x.numpy()}.get(judged_by(self.metric))
        if judged_by(self.metric) == ORIGINAL:
            right = self._taken(original)
        return self.metric.record(own, right)

    def _taken(self, outputs: Tensors) -> Any:
        arrays = [(one.float() if one.is_floating_point() else one).numpy() for one in outputs]
        return arrays if self.decode is None else self.decode(arrays)


#: What a network is trained and judged for by labelled samples alone.
CLASSIFIER = Objective("classification", CrossEntropy(), Top1())
