"""Find the layer that a converter fails at, and say what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from edgecnn.errors import EdgecnnError, library_error, place_of

#: Part of the name of an operator of torch → what to write instead.
_INSTEAD: Mapping[str, str] = {
    "_ctc": "leave the loss to training",
    "as_strided": "use view, permute and slices",
    "deform_conv2d": "use plain convolutions: no runtime for edge devices has deformable ones",
    "fft": "compute the spectrum before the network, and give it as the input",
    "grid_sampler": "use interpolate with fixed sizes, or sample before the network",
    "gru": "unroll it over a fixed number of steps with nn.GRUCell",
    "lstm": "unroll it over a fixed number of steps with nn.LSTMCell",
    "max_unpool": "use nn.Upsample or nn.ConvTranspose2d",
    "nms": "return boxes and scores, and suppress boxes in the application",
    "nonzero": "return the whole tensor, and choose from it in the application",
    "roi_": "return feature maps and boxes, and crop in the application",
    "sort": "return the values, and sort them in the application",
    "unique": "return the values, and count them in the application",
}
_MOST_TRIED = 200  # operators, for a network of thousands

Convert = Callable[[nn.Module, tuple[torch.Tensor, ...]], Any]


@contextmanager
def naming_the_layer(
    what: str, module: nn.Module, inputs: tuple[torch.Tensor, ...], convert: Convert
) -> Iterator[None]:
    """Say at which layer of *module* what runs in it failed, where an operator of it fails by itself.

    Args:
        what: runs in it: `TFLite export`.
        module: the user's network.
        inputs: tensors of the shapes that it takes.
        convert: what is tried on each operator alone.

    Raises:
        EdgecnnError: in place of what *convert* raised, where the layer is found.
    """
    try:
        yield
    except (EdgecnnError, OSError, MemoryError, ModuleNotFoundError):
        raise
    except Exception as error:
        if (decides := _decides_by_values(error)) is not None:
            raise EdgecnnError(f"{what} failed: {decides}") from error
        found = _first_failing(module, inputs, convert)
        if found is None:
            raise
        node, reason = found
        raise EdgecnnError(f"{what} failed at {_layer_of(node)}: {reason}{_instead(node)}") from error


def _decides_by_values(error: BaseException) -> str | None:
    """Return what to tell of a network whose own code asks for the values of a tensor; None: it does not."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    if not any(type(one).__name__ == "GuardOnDataDependentSymNode" for one in chain):
        return None
    return (
        "forward() decides by the values of a tensor, with if, int() or item(), and a file does the same for all "
        f"inputs; use torch.where and fixed sizes, or decide in the application{place_of(*chain)}"
    )


def _first_failing(module: nn.Module, inputs: tuple[torch.Tensor, ...], convert: Convert) -> tuple[fx.Node, str] | None:
    """Return the first operator that *convert* fails at by itself, and why; None where there is none."""
    try:
        program = torch.export.export(module, inputs, strict=False)
        graph = program.module(check_guards=False)
    except Exception:  # torch cannot follow the network: its own message names the line
        return None
    assert isinstance(graph, fx.GraphModule)
    tried: set[str] = set()
    for node in graph.graph.nodes:
        key = _key(node)
        if key is None or key in tried or len(tried) >= _MOST_TRIED:
            continue
        tried.add(key)
        alone = _Alone(node, graph).eval()
        if not alone.examples:
            continue
        try:
            convert(alone, alone.examples)
        except Exception as error:
            return node, library_error(error)
    return None


def _key(node: fx.Node) -> str | None:
    """Return what two operators that convert alike have in common; None for what computes nothing."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    shapes = fx.map_arg((node.args, node.kwargs), lambda other: tuple(getattr(other.meta.get("val"), "shape", ())))
    return f"{node.target} {shapes}"


class _Alone(nn.Module):
    """One operator of a graph; its weights are constants."""

    def __init__(self, node: fx.Node, graph: fx.GraphModule) -> None:
        super().__init__()
        self.node = node
        moving = [source for source in node.all_input_nodes if source.op != "get_attr"]
        self.places = {source: place for place, source in enumerate(moving)}
        values = [value for source in moving if isinstance(value := source.meta.get("val"), torch.Tensor)]
        known = len(values) == len(moving)
        self.examples = tuple(torch.zeros(v.shape, dtype=v.dtype) for v in values) if known else ()
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                self.register_buffer(source.name, _attribute(graph, str(source.target)).detach().clone())

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Return what the operator gives."""

        def value(source: fx.Node) -> torch.Tensor:
            found = tensors[self.places[source]] if source in self.places else getattr(self, source.name)
            assert isinstance(found, torch.Tensor)
            return found

        args, kwargs = fx.map_arg((self.node.args, self.node.kwargs), value)
        return self.node.target(*args, **kwargs)  # type: ignore[operator]


def _attribute(module: nn.Module, path: str) -> torch.Tensor:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part)
    assert isinstance(found, torch.Tensor)
    return found


def _layer_of(node: fx.Node) -> str:
    """Return the innermost layer of a node by its name in the module: `layer backbone.0 (Conv3d, aten.conv3d)`."""
    operator = str(node.target).removesuffix(".default")
    stack = list(node.meta.get("nn_module_stack", {}).values())
    named = [(name, kind) for name, kind in stack if name]
    if not named:
        return f"the operator {operator} in its forward()"
    name, kind = named[-1]
    kind = kind if isinstance(kind, str) else kind.__qualname__
    return f"layer {name} ({kind.rpartition('.')[2]}, {operator})"


def _instead(node: fx.Node) -> str:
    found = next((text for part, text in _INSTEAD.items() if part in str(node.target)), None)
    return f"; {found}" if found else "; replace this layer, or export it in the other format"
