"""Pruning criteria: how much each filter of a layer matters.

A criterion is a function of a layer's weights [out, ...] that gives a score a filter [out]; filters of the least score
go first. An attribute `needs` of the function says what it asks for beyond the weights of convolutions and linear
layers: `"gradients"`, which are `weight.grad` then, or `"norms"`, whose weights [channels] it scores instead; or both,
as a tuple.

    def saliency(weight):
        return (weight * weight.grad).flatten(1).abs().sum(1)

    saliency.needs = "gradients"
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from edgecnn.compress import CRITERIA
from edgecnn.compress.channels import NORMS, OUT, Convolution
from edgecnn.compress.objective import CLASSIFIER, Distilled, Objective
from edgecnn.compress.unit import Unit
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.nets.outputs import tensors_of
from edgecnn.normalization import Normalization, preprocess
from edgecnn.samples import Samples
from edgecnn.user_code import explain_user_errors

Criterion = Callable[[torch.Tensor], torch.Tensor]


def l1(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of absolute weights of each filter: [out, ...] → [out] (Li et al. 2017, arXiv:1608.08710)."""
    return torch.sum(weight.flatten(1).abs(), dim=1)


def l2(weight: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each filter: [out, ...] → [out]."""
    return torch.sqrt(torch.sum(weight.flatten(1).square(), dim=1))


def geometric_median(weight: torch.Tensor) -> torch.Tensor:
    """Return each filter's distance to all others: [out, ...] → [out] (He et al. 2019, arXiv:1811.00250)."""
    rows = weight.flatten(1)
    return torch.cdist(rows, rows).sum(1)


def bn_scale(weight: torch.Tensor) -> torch.Tensor:
    """Return the size of each channel's scale in a batch norm: [out] → [out] (Liu et al. 2017, arXiv:1708.06519)."""
    return weight.abs()


def taylor(weight: torch.Tensor) -> torch.Tensor:
    """Return the loss that taking out each filter would cost by its gradients, squared: [out, ...] → [out].

    The sum over a filter of (g w)², of Molchanov et al. 2019, arXiv:1906.10771, equation 8.
    """
    assert weight.grad is not None  # `needs` says so
    return (weight * weight.grad).flatten(1).square().sum(1)


#: What a criterion may say that it needs.
GRADIENTS, NORM_WEIGHTS = "gradients", "norms"

bn_scale.needs = NORM_WEIGHTS  # type: ignore[attr-defined]
taylor.needs = GRADIENTS  # type: ignore[attr-defined]


def needs_of(criterion: str | Criterion) -> frozenset[str]:
    """Return what *criterion* says that it needs, of `gradients` and `norms`.

    Raises:
        EdgecnnError: it is not known, or needs something else.
    """
    function, name = _loaded(criterion)
    said = getattr(function, "needs", ())
    needs = frozenset((said,) if isinstance(said, str) else said)
    for one in needs - {GRADIENTS, NORM_WEIGHTS}:
        raise unknown_name(f"need of criterion {name}:", str(one), (GRADIENTS, NORM_WEIGHTS))
    return needs


def _loaded(criterion: str | Criterion) -> tuple[Criterion, str]:
    """Return the function of a criterion and its name."""
    if isinstance(criterion, str):
        return CRITERIA.load(criterion), criterion
    return criterion, getattr(criterion, "__name__", "criterion")


#: Of the training part, that gradients are taken over.
GRADIENT_SAMPLES = 1024


def graded_for(
    criterion: str | Criterion,
    module: nn.Module,
    training: Samples,
    normalization: Normalization | None,
    objective: Objective,
) -> nn.Module:
    """Return *module*, where *criterion* needs gradients a copy that bears those over some samples of *training*.

    Raises:
        EdgecnnError: as `needs_of` and `with_gradients`.
    """
    if GRADIENTS not in needs_of(criterion):
        return module
    samples = training.take(GRADIENT_SAMPLES, seed=2)
    return with_gradients(module, samples, normalization, objective=objective, criterion=_loaded(criterion)[1])


def with_gradients(
    module: nn.Module,
    samples: Samples,
    normalization: Normalization | None,
    *,
    batch_size: int = 64,
    objective: Objective = CLASSIFIER,
    criterion: str = "taylor",
) -> nn.Module:
    """Return a copy of *module* whose weights bear gradients of the loss over *samples*, labelled for most tasks.

    `weight.grad` is the root mean square over the batches, which (g w)² asks for. Errors name the *criterion*.

    Raises:
        EdgecnnError: samples without labels.
    """
    if (samples.labels is None and objective.task != "reconstruction") or isinstance(objective.loss, Distilled):
        raise EdgecnnError(
            f"criterion {criterion} needs gradients of a loss, and for task {objective.task} there is none without "
            "labelled samples; use l2, for example"
        )
    copied = copy.deepcopy(module).eval().requires_grad_(True)
    squares = {name: torch.zeros_like(parameter) for name, parameter in copied.named_parameters()}
    batches = 0
    for batch in samples.batched(batch_size):
        x = torch.from_numpy(preprocess(batch.x, normalization))
        y = None if batch.y is None else torch.from_numpy(batch.y)
        batches += 1
        copied.zero_grad()
        result = copied(x)
        if callable(own_loss := getattr(copied, "loss", None)):
            loss = own_loss(result, y)
        else:
            loss = objective.loss.train(tensors_of(result, "to grade"), x, y, 0.0)
        torch.autograd.backward(loss)
        for name, parameter in copied.named_parameters():
            if parameter.grad is not None:
                squares[name] += parameter.grad.square()
    for name, parameter in copied.named_parameters():
        parameter.grad = torch.sqrt(squares[name] / batches)
    return copied


def scores_of(module: nn.Module, unit: Unit, criterion: str | Criterion) -> torch.Tensor:
    """Return the score of each atom of *unit* [atoms]: the mean over its layers, each layer's own mean being 1.

    Raises:
        EdgecnnError: the criterion is not known, or gives something other than a finite score a filter.
    """
    function, name = _loaded(criterion)
    needs = needs_of(criterion)
    scored = NORMS if NORM_WEIGHTS in needs else (Convolution, nn.Linear)
    scores = []
    for part in unit.slices:
        layer = module.get_submodule(part.layer)
        if part.side == OUT and isinstance(layer, scored) and layer.weight is not None:
            if GRADIENTS in needs and layer.weight.grad is None:
                raise EdgecnnError(f"criterion {name} needs gradients: collect them with `with_gradients` first")
            score = _scored(function, name, part.layer, layer)
            share = torch.stack([score[list(atom)].sum() for atom in part.indices])
            scores.append(share / share.mean().clamp_min(1e-12))
    if not scores:
        raise EdgecnnError(
            f"criterion {name} scores batch norms, but {unit.name} has none; use another one, for example l2"
        )
    return torch.stack(scores).mean(0)


def _scored(function: Criterion, name: str, layer: str, module: nn.Module) -> torch.Tensor:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    # A copy, and the same random numbers each time: whatever the user's own function does, the network stays as it is,
    # and the same weights have the same scores.
    filters = 1 if getattr(module, "transposed", False) else 0
    rows = weight.detach().transpose(0, filters).clone()
    rows.grad = None if weight.grad is None else weight.grad.transpose(0, filters).clone()
    with torch.random.fork_rng(devices=[]), explain_user_errors(f"criterion {name} failed for {layer}"):
        torch.manual_seed(0)
        score = function(rows)
    if not isinstance(score, torch.Tensor) or score.shape != (len(rows),):
        given = list(score.shape) if isinstance(score, torch.Tensor) else type(score).__name__
        raise EdgecnnError(
            f"criterion {name} gave {given} for the weights {list(rows.shape)} of {layer}, not [{len(rows)}]"
        )
    score = score.detach().float()
    if not torch.isfinite(score).all():
        raise EdgecnnError(f"criterion {name} gave scores for {layer} that are NaN or infinite")
    return score
