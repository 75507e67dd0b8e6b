"""What a module takes and returns: its inputs by name, and tensors of tuples, lists and dicts in their order."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from edgecnn.errors import EdgecnnError

Tensors = list[torch.Tensor]


def required_inputs(module: nn.Module) -> list[str]:
    """Return the names of the inputs that *module* cannot do without; none where its code does not say."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one.name for one in parameters if one.kind in kinds and one.default is one.empty]


def input_names(module: nn.Module) -> list[str]:
    """Return the names of the inputs of the files that *module* is written to: its own `input_names`, else `input`.

    A module of several inputs has them named as the arguments of its `forward`.
    """
    own = getattr(module, "input_names", None)
    if own is not None:
        return [str(name) for name in own]
    needed = required_inputs(module)
    return needed if len(needed) > 1 else ["input"]


def tensors_of(result: Any, name: str) -> Tensors:
    """Return the tensors in *result*, what the network *name* gave, in their order.

    Raises:
        EdgecnnError: there is something else in it.

    Example:
        >>> [list(one.shape) for one in tensors_of({"boxes": torch.zeros(1, 4), "scores": (torch.zeros(1, 2),)}, "net")]
        [[1, 4], [1, 2]]
    """
    return [tensor for _, tensor in named_tensors(result, name)]


def named_tensors(result: Any, name: str = "the network") -> list[tuple[str, torch.Tensor]]:
    """Return the tensors in *result*, what the network *name* gave, in their order and with their names.

    A single tensor is `output`; those of a dict have its keys (`aux`, `head.boxes`), those of a tuple are numbered.

    Raises:
        EdgecnnError: there is something else in it.

    Example:
        >>> [one for one, _ in named_tensors({"boxes": torch.zeros(1, 4), "aux": (torch.zeros(1, 2),)})]
        ['boxes', 'aux_0']
    """
    return [(path or "output", tensor) for path, tensor in _named(result, "", name)]


def _named(result: Any, path: str, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(result, torch.Tensor):
        yield path, result
    elif isinstance(result, Mapping):
        for key, value in result.items():
            yield from _named(value, f"{path}.{key}" if path else str(key), name)
    elif isinstance(result, (tuple, list)):
        for number, value in enumerate(result):
            yield from _named(value, f"{path}_{number}" if path else f"output_{number}", name)
    else:
        raise EdgecnnError(f"network {name} gives a {type(result).__name__}; edgecnn needs tensors")
