"""Parameters and MACs, by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch_pruning
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from edgecnn.compress.prune import Size, size_of
from edgecnn.nets.network import build


class Net(nn.Module):
    """Layers, and what to do with them."""

    def __init__(self, forward: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.does = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Do it."""
        return self.does(x, *self.layers)


def macs_of(shape: tuple[int, ...], forward: Callable[..., torch.Tensor], *layers: nn.Module) -> int:
    """Return the MACs of what *forward* does with *layers*."""
    return size_of(Net(forward, *layers).eval(), shape).macs


def test_networks_of_known_layers_keep_their_figures() -> None:
    """ResNet-20's is that of the tables there are, and its modules are left without hooks."""
    module = build("edgecnn:resnet20").module
    # Six convolutions read and write 16 planes of 32 x 32, which all others add a third of a percent to.
    assert size_of(module, (3, 32, 32)) == Size(269_722, 40_927_882, 41_109)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())
    counted = torch_pruning.utils.count_ops_and_params(module, torch.zeros(1, 3, 32, 32))
    assert counted == (40_927_882, 269_722)


STEP = 4 * 32 * (192 + 32)  # of LSTM(192, 32): gates x hidden x (input + hidden)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.LSTM(192, 32, bias=False, batch_first=True), 229_376),
        (nn.LSTM(192, 32, batch_first=True), 8 * (STEP + 2 * 4 * 32)),
        (nn.GRU(192, 32, bias=False, batch_first=True), 8 * STEP * 3 // 4),
        (nn.RNN(192, 32, bias=False, batch_first=True), 8 * STEP // 4),
        (nn.LSTM(192, 32, bias=False, bidirectional=True, batch_first=True), 8 * 2 * STEP),
        (nn.LSTM(192, 32, 2, bias=False, batch_first=True), 8 * (STEP + 4 * 32 * (32 + 32))),
        (nn.GRU(192, 32, 2, False, bidirectional=True, batch_first=True), 8 * 2 * 3 * 32 * ((192 + 32) + (64 + 32))),
        (nn.LSTM(192, 32, bias=False, proj_size=8, batch_first=True), 8 * (4 * 32 * (192 + 8) + 32 * 8)),
    ],
    ids=["lstm", "bias", "gru", "rnn", "bidirectional", "layers", "both", "projection"],
)
def test_recurrent_layers_count_each_step(layer: nn.Module, macs: int) -> None:
    """Gates x hidden x (input + hidden) for each of 8 steps, layer and direction."""
    assert macs_of((8, 192), lambda x, layer: layer(x)[0], layer) == macs


def test_steps_are_told_from_samples() -> None:
    """Steps first, without a batch, packed, and one by one through a cell: as much."""
    lstm, cell = nn.LSTM(192, 32, bias=False), nn.LSTMCell(192, 32, bias=False)
    assert macs_of((8, 192), lambda x, lstm: lstm(x.transpose(0, 1))[0], lstm) == 8 * STEP
    assert macs_of((8, 192), lambda x, lstm: lstm(input=x[0])[0], lstm) == 8 * STEP
    assert macs_of((8, 192), lambda x, lstm: lstm(rnn.pack_sequence(list(x)))[0].data, lstm) == 8 * STEP
    assert macs_of((8, 192), lambda x, cell: torch.cat([cell(step)[0] for step in x.unbind(1)]), cell) == 8 * STEP


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.ConvTranspose2d(64, 32, 2, 2, bias=False), (64, 4, 4), 131_072),
        (nn.ConvTranspose2d(64, 32, 2, 2), (64, 4, 4), 131_072 + 32 * 8 * 8),
        (nn.ConvTranspose2d(64, 32, 3, 2, 1, 1, groups=4, bias=False), (64, 4, 4), 16 * 64 * 8 * 9),
        (nn.ConvTranspose1d(6, 4, 3, bias=False), (6, 5), 5 * 6 * 4 * 3),
        (nn.ConvTranspose3d(2, 3, 2, 2, bias=False), (2, 3, 3, 3), 27 * 2 * 3 * 8),
    ],
    ids=["2d", "bias", "groups", "1d", "3d"],
)
def test_transposed_convolutions_count_their_inputs(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    """Input positions x inputs x outputs of a group x kernel; in a class of one's own too."""
    assert macs_of(shape, lambda x, layer: layer(x), layer) == macs
    layer.__class__ = type("Mine", (type(layer),), {})
    assert macs_of(shape, lambda x, layer: layer(x), layer) == macs


def test_attention_counts_all_widths() -> None:
    """Scaled queries, three projections with bias, two products and a softmax for each head, the last projection."""
    same, other = nn.MultiheadAttention(8, 2, batch_first=True), nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
    counted, _ = torch_pruning.utils.count_ops_and_params(
        Net(lambda x, layer: layer(x, x, x)[0], same), torch.zeros(1, 5, 8)
    )
    heads, last = 2 * (5 * 5 * 4 + 5 * 5 + 5 * 5 * 4), 5 * 8 * (8 + 1)
    by_hand = 5 * 8 + 3 * 5 * 8 * 8 + 3 * 5 * 8 + heads + last
    assert macs_of((5, 8), lambda x, layer: layer(x, x, x)[0], same) == by_hand == counted
    assert macs_of((5, 8), lambda x, layer: layer(query=x, value=x, key=x)[0], same) == by_hand
    assert macs_of((5, 8), lambda x, layer: layer(x[0], x[0], x[0])[0], same) == by_hand
    narrow = macs_of((5, 8), lambda x, layer: layer(x[0], x[0, :, :4], x[0, :, :6])[0], other)
    assert narrow == by_hand - 5 * 8 * (8 - 4) - 5 * 8 * (8 - 6)


def test_an_encoder_layer_is_counted_whole() -> None:
    """Attention in torch's own layer is not passed by on a fast path."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    attention = macs_of((5, 8), lambda x, layer: layer(x, x, x)[0], layer.self_attn)
    linear = 2 * 5 * 8 * 16 + 16 + 8  # the counter's bias of a linear layer is once, whatever the positions
    norms = 2 * 2 * 5 * 8
    assert macs_of((5, 8), lambda x, layer: layer(x), layer) == attention + linear + norms


@pytest.mark.parametrize(
    ("forward", "shape", "macs"),
    [
        (lambda x: functional.linear(x, torch.zeros(3, 8), torch.zeros(3)), (5, 8), 5 * 8 * 3),
        (lambda x: functional.conv2d(x, torch.zeros(6, 2, 3, 3), padding=1, groups=2), (4, 5, 7), 35 * 6 * 2 * 9),
        (lambda x: functional.conv2d(x, torch.zeros(6, 4, 3, 3), stride=2), (4, 5, 7), 2 * 3 * 6 * 4 * 9),
        (lambda x: functional.conv_transpose2d(x, torch.zeros(4, 6, 2, 2), stride=2), (4, 5, 7), 35 * 4 * 6 * 4),
        (lambda x: x @ x.transpose(1, 2), (5, 8), 5 * 8 * 5),
        (lambda x: torch.einsum("nij,nkj->nik", x, x), (5, 8), 5 * 8 * 5),
        (lambda x: x[0] @ torch.zeros(8), (5, 8), 5 * 8),
        (functional.relu, (5, 8), 0),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), (2, 5, 8), 2 * 2 * 5 * 5 * 8),
    ],
    ids=["linear", "conv", "stride", "transposed", "matmul", "einsum", "vector", "relu", "attention"],
)
def test_work_between_layers_is_counted(
    forward: Callable[..., torch.Tensor], shape: tuple[int, ...], macs: int
) -> None:
    """Products and convolutions of a `forward` of one's own count without their bias, beside the layers' own."""
    assert macs_of(shape, forward) == macs
    assert macs_of(shape, lambda x, layer: forward(layer(x)), nn.ReLU()) == macs + torch.Size(shape).numel()


def test_a_class_of_ones_own_is_counted() -> None:
    """A convolution under another name costs what it does under torch's."""
    mine = type("Mine", (nn.Conv2d,), {})(4, 6, 3, bias=False)
    assert macs_of((4, 5, 5), lambda x, layer: layer(x), mine) == 9 * 4 * 6 * 9


def test_a_count_that_fails_leaves_no_trace() -> None:
    """The network's own error comes out, its modules have no hooks, and the next count is right."""
    layer = nn.LSTM(192, 32, bias=False)
    with pytest.raises(RuntimeError, match="192"):
        macs_of((8, 191), lambda x, layer: layer(x)[0], layer)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert macs_of((8, 192), lambda x, layer: layer(x)[0], layer) == 229_376


def test_activations_are_those_of_the_largest_operator() -> None:
    """A convolution holds what it reads and writes; what goes element by element is a part of it; others hardly count.

    Two that are as large count a twelfth more than one: 2 ** (1 / 8).
    """
    first, last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 3, stride=4)
    norm = nn.BatchNorm2d(8)
    one = size_of(Net(lambda x, a, b, c: c(b(a(x)).relu()), first, norm, last).eval(), (1, 16, 16))
    assert one.activations == pytest.approx(9 * 256, rel=0.1)
    same = nn.Conv2d(8, 8, 3, padding=1)
    two = size_of(Net(lambda x, a, b: b(b(a(x))), first, same).eval(), (1, 16, 16))
    assert two.activations == pytest.approx(16 * 256 * 2 ** (1 / 8), rel=0.01)
    smaller = size_of(Net(lambda x, a, b, c: c(b(a(x))), first, norm, nn.Conv2d(8, 2, 3, stride=4)).eval(), (1, 16, 16))
    assert one.activations - smaller.activations < 0.01 * one.activations
