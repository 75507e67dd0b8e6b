"""Train, fine-tune or distil a network; a training that is stopped goes on from its last whole epoch."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgecnn.compress.augment import NO_AUGMENTATION, Augmentation, augmented
from edgecnn.compress.averaging import take_average, update_average
from edgecnn.compress.im2col import Columns
from edgecnn.compress.learning_rate import SCHEDULES, OneCycle, Plateau
from edgecnn.compress.magnitude import apply_masks, nonzero_masks
from edgecnn.compress.malloc import freed_memory_kept
from edgecnn.compress.objective import CLASSIFIER, Distilled, Objective, SquaredError
from edgecnn.compress.settings import Training
from edgecnn.compress.training_state import TrainingState
from edgecnn.errors import EdgecnnError
from edgecnn.host import read_host
from edgecnn.nets.layout import runs_channels_last
from edgecnn.nets.outputs import Tensors, tensors_of
from edgecnn.normalization import Normalization, preprocess
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples

#: Optimizer → the weight decay that suits it: AdamW's is apart from the gradient (Loshchilov and Hutter 2019,
#: arXiv:1711.05101), SGD's is the one that CIFAR's networks are usually trained with.
WEIGHT_DECAY = {"adamw": 1e-2, "sgd": 5e-4}

#: A CPU with one of these trains in bfloat16: by the second alone a step takes half to two thirds of float32's time
#: (benchmarks/training_speed.py). Arm's is not among them: whether it is faster there has not been measured.
BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})

#: Bytes of a teacher's scores that are cached: 24 epochs of 50,000 images take 48 MB with 10 classes. Beyond that they
#: are computed again.
_MOST_KEPT = 2**30

_AVERAGE_BATCHES = 100  # that batch norm takes its statistics from, once the weights are averages


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to train: one cycle of the learning rate, rising over the first third and falling to nothing."""

    epochs: float = 10  # of half an epoch the other half of the samples is not seen
    batch_size: int = Training.batch_size
    optimizer: str = Training.optimizer  # "adamw" or "sgd", with Nesterov's momentum, 0.95 to 0.85 at the peak and back
    learning_rate: float = Training.learning_rate  # the peak of the cycle
    weight_decay: float | None = None  # None: the optimizer's own
    label_smoothing: float = 0.05
    augmentation: Augmentation = NO_AUGMENTATION
    teacher_weight: float = 0.7  # share of the loss that follows a teacher, where one is given
    temperature: float = 4.0  # of the teacher's and the student's scores
    #: The batches of so many epochs return, with the teacher's scores as they were; 0: each epoch has its own.
    cache_soft_targets: int = Training.cache_soft_targets
    keep_zeros: bool = False  # weights of convolutions and linear layers that are 0 stay 0
    seed: int = 0
    schedule: str = "one_cycle"  # or "plateau": `edgecnn.compress.learning_rate.Plateau`, for at most so many epochs
    patience: int = 10  # epochs without a lower loss that end a training by "plateau"
    warmup: float = 0.3  # share of the cycle in which the learning rate rises
    nesterov: bool = True  # of "sgd"
    decay_vectors: bool = False  # whether biases and batch norm decay as well
    keep_last_batch: bool = False  # whether the last samples of an epoch, fewer than a batch, are shown in it
    average: float = 0.0  # the network becomes the moving average of its weights, with this decay; 0: the last ones

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise EdgecnnError(f"a learning rate is a number above 0, not {self.learning_rate:g}")
        if self.optimizer not in WEIGHT_DECAY:
            raise EdgecnnError(f"unknown optimizer '{self.optimizer}'; known: {', '.join(WEIGHT_DECAY)}")
        if self.weight_decay is None:
            object.__setattr__(self, "weight_decay", WEIGHT_DECAY[self.optimizer])
        if not 0 <= self.teacher_weight <= 1 or not self.temperature > 0:
            raise EdgecnnError("a teacher's weight is from 0 to 1, and the temperature above 0")
        if self.cache_soft_targets < 0:
            raise EdgecnnError(f"cache_soft_targets is a number of epochs, 0 or more, not {self.cache_soft_targets}")
        if not 0 <= self.epochs < math.inf:
            raise EdgecnnError(f"epochs are 0 or more, not {self.epochs:g}")
        if self.schedule not in SCHEDULES:
            raise EdgecnnError(f"unknown schedule '{self.schedule}'; known: {', '.join(SCHEDULES)}")
        if not 0 < self.warmup < 1 or not 0 <= self.average < 1:
            raise EdgecnnError("a warm-up is a share between 0 and 1, an average's decay at least 0 and below 1")


def train(
    module: nn.Module,
    training: Samples,
    config: TrainConfig,
    normalization: Normalization | None,
    progress: Progress = silent,
    *,
    teacher: nn.Module | None = None,
    state: Path | None = None,
    objective: Objective = CLASSIFIER,
) -> nn.Module:
    """Return a trained copy of *module*, in evaluation mode; the same seed gives the same network on one machine.

    Computes on a CUDA device where there is one, else on the CPU, in bfloat16 where the CPU multiplies it itself.

    Args:
        module: maps [N, ...] to its outputs; one with a method `loss(outputs, targets)` is trained by it, any other by
            the loss of the *objective*.
        training: samples; with targets, unless a teacher is enough.
        config: how.
        normalization: how pixels become inputs.
        progress: says the steps.
        teacher: a network for the same inputs whose outputs the module learns to give, as well as the targets
            (Hinton et al. 2015, arXiv:1503.02531); alone, where the objective has no loss of its own.
        state: a file that keeps the training after every epoch. Where it holds one of the same module and config, that
            one goes on and ends with the same network.
        objective: what the network is trained for.

    Raises:
        EdgecnnError: nothing to learn from (neither targets nor a teacher), targets that do not suit the outputs, a
            loss or weights that are no numbers, or a state of another training.
    """
    if config.epochs == 0:
        return copy.deepcopy(module).eval()
    if teacher is None:
        _check_targets(module, training, objective)
    device = _device()
    order = _order_of_memory(module, teacher, training, normalization)
    trained = copy.deepcopy(module).to(device).to(memory_format=order).train()
    soft_targets = None
    if teacher is not None:
        soft_targets = _SoftTargets(
            copy.deepcopy(teacher).to(device).to(memory_format=order).eval(), config.cache_soft_targets
        )
    # The incomplete last batch waits for the next epoch's order: batch norm cannot learn from a single sample.
    whole = len(training) // config.batch_size
    steps = max(1, math.ceil(len(training) / config.batch_size) if config.keep_last_batch else whole)
    total = max(1, round(config.epochs * steps))
    masks = nonzero_masks(trained) if config.keep_zeros else {}
    optimizer = _optimizer(trained, config)
    schedule = _schedule(optimizer, config, total)
    stored = None if state is None else TrainingState(state, module, dataclasses.asdict(config) | {"n": len(training)})
    first = 0 if stored is None else stored.restore(trained, optimizer, schedule)
    with torch.random.fork_rng(), freed_memory_kept():
        for epoch in range(first, math.ceil(total / steps)):
            if schedule.is_over:
                break
            losses: list[torch.Tensor] = []
            # Every epoch draws its own numbers, so that one that goes on draws the same.
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            view = epoch if soft_targets is None else soft_targets.view(epoch)
            batches = _batches(training, config, normalization, view, min(steps, total - epoch * steps))
            for done, (x, y) in enumerate(batches):
                x = x.to(device, memory_format=order) if x.ndim == 4 else x.to(device)
                teacher_logits = None if soft_targets is None else soft_targets.logits(view, done, x)
                y = y.to(device) if isinstance(y, torch.Tensor) else y
                loss = _loss(trained, teacher_logits, x, y, config, objective)
                if not torch.isfinite(loss):
                    raise EdgecnnError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate")
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                apply_masks(trained, masks)
                losses.append(loss.detach())
                if config.average:
                    update_average(optimizer, config.average)
                schedule.step()
                progress("training", epoch * steps + done + 1, total)
            _check_weights(trained, epoch)
            schedule.end_epoch(float(torch.stack(losses).mean()))
            if stored is not None:
                stored.keep(epoch + 1, trained, optimizer, schedule)
        if config.average:
            shown = itertools.islice(_batches(training, config, normalization, 0, steps), _AVERAGE_BATCHES)
            take_average(trained, optimizer, (x.to(device) for x, _ in shown))
    # Weights leave in the usual order of memory.
    return trained.cpu().to(memory_format=torch.contiguous_format).eval()


def _check_targets(module: nn.Module, training: Samples, objective: Objective) -> None:
    """See that *module* can learn from the targets alone.

    Raises:
        EdgecnnError: there are none, or the task has no loss for them.
    """
    if training.labels is None and objective.task != "reconstruction":
        raise EdgecnnError("training needs labelled samples, or a teacher")
    if isinstance(objective.loss, Distilled) and not callable(getattr(module, "loss", None)):
        raise EdgecnnError(
            f"task {objective.task} has no loss of edgecnn's own, so the network needs a teacher to learn from; or "
            "give it a method loss(outputs, targets)"
        )


class _SoftTargets:
    """A teacher's scores for the batches of an epoch, cached for the epochs that show the same batches again.

    VGG16 as the teacher of its pruned self takes 0.6 of the student's own time, with ResNet-56 beside it as much.
    Caching soft targets is the method of Shen and Xing (2021, arXiv:2112.01528); a training of 16 epochs lost 0.2
    points on 5000 images with 4 cached epochs, which is within chance (benchmarks/soft_target_cache.py).
    """

    def __init__(self, teacher: nn.Module, cache_soft_targets: int) -> None:
        self.teacher = teacher
        self.cache_soft_targets = cache_soft_targets
        self.kept: dict[tuple[int, int], Tensors] = {}
        self.room = _MOST_KEPT

    def view(self, epoch: int) -> int:
        """Return the number of the cached epoch that *epoch* repeats."""
        return epoch % self.cache_soft_targets if self.cache_soft_targets else epoch

    def logits(self, view: int, step: int, x: torch.Tensor) -> Tensors:
        """Return the teacher's outputs [N, ...] for the inputs *x* [N, ...] of that step."""
        if (view, step) in self.kept:
            return self.kept[view, step]
        with torch.no_grad():
            teacher_logits = _outputs(self.teacher, x.clone())  # a network may write over its input
        size = sum(one.numel() * one.element_size() for one in teacher_logits)
        if self.cache_soft_targets and size <= self.room:
            self.kept[view, step] = teacher_logits
            self.room -= size
        return teacher_logits


def _check_weights(module: nn.Module, epoch: int) -> None:
    """See that what *epoch* left is a network: a finite loss can have gradients that are not."""
    broken = [name for name, parameter in module.named_parameters() if not parameter.isfinite().all()]
    broken += [name for name, buffer in module.named_buffers() if buffer.isnan().any()]
    if broken:
        raise EdgecnnError(f"{broken[0]} became NaN or infinite in epoch {epoch + 1}; lower the learning rate")


def _order_of_memory(
    module: nn.Module, teacher: nn.Module | None, training: Samples, normalization: Normalization | None
) -> torch.memory_format:
    """Return channels innermost, the order that convolutions are fastest in, where the networks' code runs so."""
    x = torch.from_numpy(np.ascontiguousarray(preprocess(next(iter(training.take(2))).x, normalization)))
    fits = all(runs_channels_last(one, x) for one in (module, teacher) if one is not None)
    return torch.channels_last if fits else torch.contiguous_format


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def _has_bfloat16(device: str) -> bool:
    """Return whether *device* multiplies bfloat16 itself; a CPU that does not is no faster with it."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return not BFLOAT16.isdisjoint(read_host().features)


def _in_bfloat16(device: torch.device, module: nn.Module) -> torch.autocast:
    """Return what computes *module* in bfloat16 where that is faster: on a CPU, grouped convolutions are slower."""
    has_groups = device.type == "cpu" and any(getattr(layer, "groups", 1) > 1 for layer in module.modules())
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device.type) and not has_groups)


def _schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, total: int) -> OneCycle | Plateau:
    if config.schedule == "plateau":
        return Plateau(optimizer, config.patience)
    return OneCycle(optimizer, config.learning_rate, total, pct_start=config.warmup)


def _optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer; what has one dimension (biases, batch norm) does not decay unless it is asked for."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in (
            (matrices, config.weight_decay),
            (vectors, config.weight_decay if config.decay_vectors else 0.0),
        )
        if parameters
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=config.nesterov, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _batches(
    training: Samples, config: TrainConfig, normalization: Normalization | None, epoch: int, steps: int
) -> Iterator[tuple[torch.Tensor, Any]]:
    """Yield the inputs [n, ...], augmented, and targets [n, ...] of one epoch, in its own order."""
    rng = np.random.default_rng([config.seed, epoch])
    for batch in itertools.islice(training.shuffled(config.seed + epoch).batched(config.batch_size), steps):
        x, y = torch.from_numpy(preprocess(batch.x, normalization)), batch.y
        target = torch.from_numpy(y) if y is not None and y.dtype != object else y
        yield augmented(x, config.augmentation, rng), target


def _outputs(module: nn.Module, x: torch.Tensor) -> Tensors:
    """Return what *module* gives for inputs [N, ...], in float32."""
    with _in_bfloat16(x.device, module), Columns():
        result = module(x)
    try:
        return [one.float() for one in tensors_of(result, "to train")]
    except EdgecnnError:
        raise EdgecnnError(
            f"in training mode the network returns a {type(result).__name__}, not tensors; "
            "build it without auxiliary outputs, or wrap it in a module that returns only its scores"
        ) from None


def _loss(
    module: nn.Module, taught: Tensors | None, x: torch.Tensor, y: Any, config: TrainConfig, objective: Objective
) -> torch.Tensor:
    """Return the module's own loss or the objective's, mixed with the distance from what a teacher gave."""
    outputs = _outputs(module, x)
    if taught is not None and len(outputs) != len(taught):
        raise EdgecnnError(
            f"in training mode the network returns {len(outputs)} tensors, its teacher {len(taught)}; build it without "
            "auxiliary outputs, or wrap it in a module that returns only its scores"
        )
    if callable(own_loss := getattr(module, "loss", None)):
        loss: torch.Tensor | None = own_loss(outputs[0] if len(outputs) == 1 else outputs, y)
    else:
        loss = None if y is None else objective.loss.train(outputs, x, y, config.label_smoothing)
        if y is None and objective.task == "reconstruction":
            loss = objective.loss.train(outputs, x, y, config.label_smoothing)
        if taught is None and len(outputs) > 1 and not isinstance(objective.loss, SquaredError):
            raise EdgecnnError(
                f"in training mode the network returns {len(outputs)} tensors, and task {objective.task} has a loss "
                "for one; build it without auxiliary outputs, give it a teacher, or a method loss(outputs, targets)"
            )
    if taught is None:
        assert loss is not None
        return loss
    distance = objective.loss.distil(outputs, taught, config.temperature)
    return distance if loss is None else (1 - config.teacher_weight) * loss + config.teacher_weight * distance
