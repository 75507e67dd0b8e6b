"""Run a changed network from its first change on: what comes before is what the original gave.

A forward pass is a row of calls of torch, and two networks that share their code and their first layers make the same
calls up to the first layer that differs. So the calls of the original are recorded once a batch, and a changed network
is given the recorded results until its own layers begin. Its Python code runs as it is, so that residual sums, concats,
branches on shapes and layers taken out whole need no rule of their own, and nothing has to be traced. (Only `x.add_(1)`
as a statement is beyond it, which changes a tensor behind the name it has.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


@dataclass(frozen=True)
class Calls:
    """The calls that one forward pass makes, numbered as they run."""

    first: Mapping[str, int]  # module or parameter → the first call made within it, or with it
    last_use: tuple[int, ...]  # of each call's result: the last call that takes it, or their count where it is returned

    def __len__(self) -> int:
        return len(self.last_use)

    def is_live(self, call: int, start: int) -> bool:
        """Return whether what *call* gave is needed by a pass that begins at *start*."""
        return call < start <= self.last_use[call]

    def start_of(self, original: nn.Module, changed: nn.Module) -> int:
        """Return the first call in which *changed*, a copy of *original* with some layers changed, may differ."""
        others = dict(changed.named_modules())
        starts = [len(self)]
        for name, layer in original.named_modules():
            other = others.get(name)
            if other is None:
                continue  # within a layer that was replaced, which counts itself
            tensors = dict(_own_tensors(layer))
            differs = [own for own, tensor in _own_tensors(other) if not _same(tensor, tensors.get(own))]
            if differs or type(other) is not type(layer):
                names = [name, *(f"{name}.{own}" if name else own for own in differs)]
                starts.append(min((self.first[known] for known in names if known in self.first), default=0))
        return min(starts)


@dataclass(frozen=True)
class Recording:
    """What the original gave for one batch: its output, and the results of its calls that some start still needs."""

    x: torch.Tensor
    output: torch.Tensor
    results: tuple[Any, ...]  # those that no start needs are hollow: their shape without their values


def read_calls(module: nn.Module, x: torch.Tensor) -> Calls:
    """Return the calls that *module* makes for inputs *x* [n, ...]."""
    tape = _Tape(module)
    hooks = [layer.register_forward_pre_hook(tape.enter(name)) for name, layer in module.named_modules()]
    try:
        with _quiet(module), tape:
            output = module(x)
    finally:
        for hook in hooks:
            hook.remove()
    tape.use(output)
    return Calls(tape.first, tuple(tape.last_use))


def record(module: nn.Module, x: torch.Tensor, calls: Calls, starts: Collection[int]) -> Recording:
    """Run *module* on *x* [n, ...] and keep what passes that begin at one of *starts* need."""
    if not any(starts):
        return Recording(x, replay(module, Recording(x, x, ()), 0), ())
    recorder = _Recorder(calls, starts)
    with _quiet(module), recorder:
        output = module(x)
    return Recording(x, output, tuple(recorder.results))


def replay(module: nn.Module, recording: Recording, start: int) -> torch.Tensor:
    """Return the output of *module* for the recorded batch; its calls before *start* are not made again."""
    if start == 0:
        with torch.no_grad():
            return module(recording.x.clone())  # type: ignore[no-any-return] # it may write over its input
    with _quiet(module), _Player(recording, start):
        return module(recording.x)  # type: ignore[no-any-return]


def live_bytes(calls: Calls, recording: Recording, starts: Collection[int]) -> int:
    """Return how much memory the results take that passes beginning at *starts* need."""
    kept = (result for index, result in enumerate(recording.results) if any(calls.is_live(index, s) for s in starts))
    return sum(tensor.nbytes for result in kept for tensor in _tensors(result))


def share(original: nn.Module, changed: nn.Module) -> nn.Module:
    """Return *changed* with the tensors of *original* in place of equal ones: many copies take little memory then."""
    layers = dict(original.named_modules())
    for name, layer in changed.named_modules():
        of_original = dict(_own_tensors(layers[name])) if name in layers else {}
        for own, tensor in list(_own_tensors(layer)):
            if _same(tensor, of_original.get(own)):
                (layer._parameters if own in layer._parameters else layer._buffers)[own] = of_original[own]
    return changed


def _own_tensors(layer: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters and buffers of *layer* itself, by name."""
    yield from layer.named_parameters(recurse=False)
    yield from layer.named_buffers(recurse=False)


def _same(tensor: torch.Tensor, other: torch.Tensor | None) -> bool:
    return tensor is other or (other is not None and torch.equal(tensor, other))


@contextmanager
def _quiet(module: nn.Module) -> Iterator[None]:
    """Within it, *module* computes without gradients, and its activations do not write over their inputs."""
    in_place = [layer for layer in module.modules() if getattr(layer, "inplace", False) is True]
    for layer in in_place:
        layer.inplace = False  # type: ignore[assignment]
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in in_place:
            layer.inplace = True  # type: ignore[assignment]


class _Mode(TorchFunctionMode):
    """Sees every call of torch, those of tensors' own methods and attributes included."""

    def __torch_function__(
        self, func: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.see(func, args, kwargs or {})

    def see(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call gives."""
        raise NotImplementedError


def _call(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make a call; one that would write over its first argument (`+=`, `relu_`) gets a copy of it."""
    name = getattr(func, "__name__", "")
    writes = (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE
    if writes and args and isinstance(args[0], torch.Tensor):
        args = (args[0].clone(), *args[1:])
    return func(*args, **kwargs)


_IN_PLACE = frozenset(f"__i{name}__" for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow"))


class _Tape(_Mode):
    """Notes where each module begins and until when each result is needed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.first: dict[str, int] = {}
        self.last_use: list[int] = []
        self.held: list[Any] = []  # every tensor seen, so that no id is given twice
        self.names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        self.made: dict[int, list[int]] = {}

    def enter(self, name: str) -> Callable[..., None]:
        """Return the hook that notes the beginning of module *name*."""

        def note(_module: nn.Module, _inputs: Any) -> None:
            self.first.setdefault(name, len(self.last_use))

        return note

    def use(self, value: Any) -> None:
        """Note that the call to come takes the tensors in *value*."""
        for tensor in _tensors(value):
            for index in self.made.get(id(tensor), ()):
                self.last_use[index] = len(self.last_use)
            if id(tensor) in self.names:
                self.first.setdefault(self.names[id(tensor)], len(self.last_use))

    def see(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.use((args, kwargs))
        result = _call(func, args, kwargs)
        for tensor in _tensors(result):
            self.made.setdefault(id(tensor), []).append(len(self.last_use))
            self.held.append(tensor)
        self.last_use.append(len(self.last_use))
        return result


class _Recorder(_Mode):
    """Keeps the results that the given starts need."""

    def __init__(self, calls: Calls, starts: Collection[int]) -> None:
        super().__init__()
        self.calls = calls
        self.starts = starts
        self.results: list[Any] = []

    def see(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = _call(func, args, kwargs)
        needed = any(self.calls.is_live(len(self.results), start) for start in self.starts)
        self.results.append(result if needed else _hollow(result))
        return result


class _Player(_Mode):
    """Gives recorded results until the start, and lets the calls be made from there on."""

    def __init__(self, recording: Recording, start: int) -> None:
        super().__init__()
        self.results = iter(recording.results[:start])

    def see(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for result in self.results:
            return result
        return _call(func, args, kwargs)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in *value* and in the lists, tuples and dicts it holds."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from _tensors(entry)


def _hollow(value: Any) -> Any:
    """Return *value* with tensors of the same shape that take no memory."""
    if isinstance(value, torch.Tensor):
        return value.new_empty(()).expand(value.shape)
    if type(value) in (tuple, list):
        return type(value)(_hollow(entry) for entry in value)
    return value
