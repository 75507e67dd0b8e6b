"""A converter that fails at one layer: the user reads which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.export.failing_layer import naming_the_layer


class Spectrum(nn.Module):
    """What the converter below refuses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [..., W] to [..., W / 2 + 1]."""
        return torch.fft.rfft(x).abs()


class Net(nn.Module):
    """A spectrum in the second block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.blocks = nn.Sequential(nn.Conv2d(4, 4, 1), Spectrum())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, H, W] to [N, 4, H', W']."""
        return self.blocks(self.stem(x))  # type: ignore[no-any-return]


def convert(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Refuse Fourier transforms in a dump of the whole graph, as converters do."""
    graph = torch.export.export(module, inputs).graph
    if "fft" in str(graph):
        raise RuntimeError(f"failed to legalize operation: {graph}")


def attempt(module: nn.Module) -> Any:
    """Convert *module* so that a layer is named."""
    inputs = (torch.zeros(1, 3, 8, 8),)
    with naming_the_layer("TFLite export", module.eval(), inputs, convert):
        convert(module, inputs)


def test_the_layer_is_named_with_what_to_write_instead() -> None:
    """By its name in the module, its class and its operator; what the converter says stands behind."""
    told = r"^TFLite export failed at layer blocks\.1 \(Spectrum, aten\.fft_rfft\): .*legalize.*; compute the spectrum"
    with pytest.raises(EdgecnnError, match=told):
        attempt(Net())


def test_a_failure_of_no_single_layer_stays_what_it_is() -> None:
    """Where each operator alone is taken, the converter's own error is passed on."""
    with (
        pytest.raises(RuntimeError, match="out of registers"),
        naming_the_layer("TFLite export", nn.ReLU(), (torch.zeros(1, 3),), convert),
    ):
        raise RuntimeError("out of registers")


def test_what_is_taken_raises_nothing() -> None:
    """The converter's result is untouched."""
    attempt(Net().stem)
