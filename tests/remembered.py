"""What torch's exporters work out anew at each call, the same each time: a third of the export of a small network.

`remember()` has it worked out once for each process. What is exported stays the same; only its time does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._export import utils
from torch.onnx import _constants
from torch.onnx._internal.exporter import _registration
from torch.onnx._internal.exporter._constants import TORCHLIB_OPSET


def remember() -> None:
    """Let torch keep its table of ONNX functions, and look for composite operators only where some are new."""
    utils._materialize_cpp_cia_ops = _where_operators_are_new(utils._materialize_cpp_cia_ops)
    registry = _registration.ONNXRegistry
    registry.from_torchlib = staticmethod(_copies(registry.from_torchlib))  # type: ignore[method-assign, assignment]


def work_out() -> None:
    """Work out what is remembered."""
    utils._materialize_cpp_cia_ops()
    _registration.ONNXRegistry.from_torchlib(max(TORCHLIB_OPSET, _constants.ONNX_DEFAULT_OPSET))


def _where_operators_are_new(make_attributes: Callable[[], None]) -> Callable[[], None]:
    """Return what calls *make_attributes* where operators were registered since; torch does for each namespace."""
    known: list[str] = []

    def make() -> None:
        registered = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if registered != known:
            make_attributes()
            known[:] = registered

    return make


def _copies(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return what gives each caller a registry of its own, made from the one that *read* gave for its opset."""
    registries: dict[int, Any] = {}

    def copy(opset_version: int = TORCHLIB_OPSET) -> Any:
        if opset_version not in registries:
            registries[opset_version] = read(opset_version)
        made = _registration.ONNXRegistry()
        made._opset_version = opset_version
        made.functions = {target: list(functions) for target, functions in registries[opset_version].functions.items()}
        return made

    return copy
