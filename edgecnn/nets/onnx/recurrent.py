"""LSTM and GRU of ONNX, unrolled over their steps: neither TFLite's converter nor its quantizer has them whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgecnn.nets.onnx.node import Built, Node, UnreadableError

_MOST_STEPS = 256


class _Recurrent(nn.Module):
    """One layer over time, [T, N, I] → ([T, D, N, H], [D, N, H], ...); D is 2 where it runs both ways."""

    gates: int
    states: int

    def __init__(self, weight: Tensor, recurrent: Tensor, bias: Tensor, ways: tuple[bool, ...]) -> None:
        super().__init__()
        self.weight, self.recurrent = nn.Parameter(weight), nn.Parameter(recurrent)  # [D, gates * H, I], [D, ., H]
        self.bias = nn.Parameter(bias)  # [D, 2 * gates * H]
        self.backward_ways = ways

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run over all steps from a state of zeros."""
        every, last = [], []
        for way, backward in enumerate(self.backward_ways):
            outputs, state = self._one_way(x, way, backward)
            every.append(outputs)
            last.append(state)
        ends = [torch.stack(parts) for parts in zip(*last, strict=True)]
        return (torch.stack(every, 1), *ends)

    def _one_way(self, x: Tensor, way: int, backward: bool) -> tuple[Tensor, list[Tensor]]:
        hidden = self.recurrent.shape[2]
        ahead, behind = self.bias[way].chunk(2)
        given = x @ self.weight[way].T + ahead
        state = [x.new_zeros(x.shape[1], hidden)] * self.states
        outputs: list[Tensor] = []
        steps = range(x.shape[0])
        for step in reversed(steps) if backward else steps:
            state = self.step(given[step], state, self.recurrent[way], behind)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backward else outputs), state

    def step(self, given: Tensor, state: list[Tensor], recurrent: Tensor, bias: Tensor) -> list[Tensor]:
        """Return the states after a step; the first is the output."""
        raise NotImplementedError


class Lstm(_Recurrent):
    """Hochreiter and Schmidhuber (1997), with ONNX's order of gates: input, output, forget, cell."""

    gates, states = 4, 2

    def step(self, given: Tensor, state: list[Tensor], recurrent: Tensor, bias: Tensor) -> list[Tensor]:
        """Return the output and the cell."""
        hidden, cell = state
        i, o, f, c = (given + hidden @ recurrent.T + bias).chunk(4, -1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(c)
        return [torch.sigmoid(o) * torch.tanh(cell), cell]


class Gru(_Recurrent):
    """Cho and others (2014), with ONNX's order of gates: update, reset, hidden; *linear* as torch computes it."""

    gates, states = 3, 1
    linear = True

    def step(self, given: Tensor, state: list[Tensor], recurrent: Tensor, bias: Tensor) -> list[Tensor]:
        """Return the output."""
        (hidden,) = state
        size = hidden.shape[-1]
        gates = given[..., : 2 * size] + hidden @ recurrent[: 2 * size].T + bias[: 2 * size]
        z, r = torch.sigmoid(gates).chunk(2, -1)
        if self.linear:
            new = torch.tanh(given[..., 2 * size :] + r * (hidden @ recurrent[2 * size :].T + bias[2 * size :]))
        else:
            new = torch.tanh(given[..., 2 * size :] + (r * hidden) @ recurrent[2 * size :].T + bias[2 * size :])
        return [(1 - z) * new + z * hidden]


def recurrent(kind: type[Lstm] | type[Gru]) -> Callable[[Node], Built]:
    """Return the reader of LSTM or GRU."""

    def read(node: Node) -> Built:
        weight, recurrent = node.constant(1), node.constant(2)
        bias = node.optional(3)
        direction = node.attribute("direction", "forward")
        ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
        if ways is None or weight.shape[0] != len(ways):
            raise UnreadableError(f"has the direction {direction!r}")
        if (
            node.attribute("layout", 0)
            or node.has(7)
            or node.attributes.get("clip")
            or node.attributes.get("input_forget")
        ):
            raise UnreadableError("has a layout, peepholes, clip or input_forget")
        default = ["Sigmoid", "Tanh", "Tanh"][: 3 if kind is Lstm else 2] * len(ways)
        given = [one.decode() if isinstance(one, bytes) else one for one in node.attribute("activations", default)]
        if [one.lower() for one in given] != [one.lower() for one in default]:
            raise UnreadableError(f"has the activations {given}")
        for index in (5, 6):
            if node.has(index) and bool(node.constant(index).any()):
                raise UnreadableError("begins with a state other than zeros")
        if node.has(4):
            lengths = node.constant(4)
            if bool((lengths != node.shape()[0]).any()):
                raise UnreadableError("runs over sequences of several lengths")
        if node.shape()[0] > _MOST_STEPS:
            raise UnreadableError(f"runs over {node.shape()[0]} steps; edgecnn unrolls up to {_MOST_STEPS}")
        size = 2 * kind.gates * recurrent.shape[2]
        made = kind(weight, recurrent, torch.zeros(len(ways), size) if bias is None else bias, ways)
        if isinstance(made, Gru):
            made.linear = bool(node.attribute("linear_before_reset", 0))
        return made

    return read
