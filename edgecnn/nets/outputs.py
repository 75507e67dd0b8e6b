"""What a module returns, as tensors: one, or those of tuples, lists and dicts in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from edgecnn.errors import EdgecnnError

Tensors = list[torch.Tensor]


def tensors_of(result: Any, name: str) -> Tensors:
    """Return the tensors in *result*, what the network *name* gave, in their order.

    Raises:
        EdgecnnError: there is something else in it.

    Example:
        >>> [list(one.shape) for one in tensors_of({"boxes": torch.zeros(1, 4), "scores": (torch.zeros(1, 2),)}, "net")]
        [[1, 4], [1, 2]]
    """
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, Mapping):
        return [tensor for value in result.values() for tensor in tensors_of(value, name)]
    if isinstance(result, (tuple, list)):
        return [tensor for value in result for tensor in tensors_of(value, name)]
    raise EdgecnnError(f"network {name} gives a {type(result).__name__}; edgecnn needs tensors")
