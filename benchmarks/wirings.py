"""Half of the filters out of networks of all kinds of wiring: with edgecnn, and with torch-pruning alone.

    python benchmarks/wirings.py

Each network loses half of the filters of each layer that can lose some. What is left is to give what the whole network
gives with those filters at zero, in double precision: "same". Else it is what was pruned by the wrong indices, or a
layer that looks at all channels at once, as norms over channels do, which edgecnn leaves alone. torch-pruning is told
the layers that give the outputs, which it has to be; edgecnn finds them. The result goes to
benchmarks/tables/wirings.md.
"""

from __future__ import annotations

import copy
import multiprocessing
import platform
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn import functional

from edgecnn.compress.channels import zeroed
from edgecnn.compress.prune import cut
from edgecnn.compress.unit import FILTERS
from edgecnn.compress.units import find_units
from edgecnn.files import write_whole
from edgecnn.nets.network import build

RESULT = Path(__file__).parent / "tables" / "wirings.md"
LIMIT_S = 120


class Wired(nn.Module):
    """Layers by name, and what `forward` makes of them."""

    def __init__(self, run: Callable[[Any, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return 10 scores a sample."""
        return self.run(self, x)


def conv(before: int, after: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, padding=size // 2)


def concat_flattened() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(functional.max_pool2d(torch.cat([net.a(x), net.b(x)], 1), 2).flatten(1))

    return Wired(run, a=conv(1, 8), b=conv(1, 12), last=nn.Linear(20 * 16, 10))


def concat_input() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.b(torch.cat([x, net.a(x)], 1)).mean((2, 3)))

    return Wired(run, a=conv(1, 8), b=conv(9, 12), last=nn.Linear(12, 10))


def dense_flattened() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        a = net.a(x).relu()
        return net.last(functional.max_pool2d(torch.cat([a, net.b(a).relu()], 1), 2).flatten(1))

    return Wired(run, a=conv(1, 8), b=conv(8, 8), last=nn.Linear(16 * 16, 10))


def cross_stage() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        parts = list(net.a(x).chunk(2, 1))
        for block in (net.b, net.c):
            parts.append(parts[-1] + block(parts[-1]).relu())
        return net.last(net.d(torch.cat(parts, 1)).mean((2, 3)))

    return Wired(run, a=conv(1, 32), b=conv(16, 16), c=conv(16, 16), d=conv(64, 24, 1), last=nn.Linear(24, 10))


def maxout() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.b(torch.max(*net.a(x).chunk(2, 1))).mean((2, 3)))

    return Wired(run, a=conv(1, 32), b=conv(16, 16), last=nn.Linear(16, 10))


def gated() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.b(functional.glu(net.a(x), 1)).mean((2, 3)))

    return Wired(run, a=conv(1, 32), b=conv(16, 16), last=nn.Linear(16, 10))


def pixel_shuffle() -> nn.Module:
    return nn.Sequential(conv(1, 32), nn.PixelShuffle(2), conv(8, 12), nn.Flatten(), nn.Linear(12 * 256, 10))


def flat_sum() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.linear(x.flatten(1)) + net.a(x).flatten(1))

    return Wired(run, linear=nn.Linear(64, 256), a=conv(1, 4), last=nn.Linear(256, 10))


def spatial_attention() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = net.b(net.a(x).relu()).relu()
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return net.last((x * net.weights(seen).sigmoid()).mean((2, 3)))

    return Wired(run, a=conv(1, 16), b=conv(16, 16), weights=conv(2, 1, 7), last=nn.Linear(16, 10))


def attention() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = net.b(net.a(x).relu()).flatten(2).transpose(1, 2)
        return net.last((x + net.attention(x, x, x, need_weights=False)[0]).mean(1))

    layers = {
        "a": conv(1, 16),
        "b": nn.Conv2d(16, 32, 2, 2),
        "attention": nn.MultiheadAttention(32, 4, batch_first=True),
    }
    return Wired(run, **layers, last=nn.Linear(32, 10))


def recurrent() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.lstm(net.b(net.a(x)).permute(0, 3, 1, 2).flatten(2))[0][:, -1])

    return Wired(run, a=conv(1, 16), b=conv(16, 8), lstm=nn.LSTM(64, 24, batch_first=True), last=nn.Linear(24, 10))


def written_out() -> nn.Module:
    def run(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.b(net.a(x).relu()).relu().view(-1, 16 * 64))

    return Wired(run, a=conv(1, 8), b=conv(8, 16), last=nn.Linear(16 * 64, 10))


SMALL = (1, 8, 8)
OWN: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two branches put together, flattened": (concat_flattened, "last"),
    "the input beside a branch": (concat_input, "last"),
    "a dense block, flattened": (dense_flattened, "last"),
    "cross-stage partial blocks": (cross_stage, "last"),
    "maxout": (maxout, "last"),
    "a gated linear unit": (gated, "last"),
    "pixel shuffle": (pixel_shuffle, "4"),
    "a linear layer and flattened channels, summed": (flat_sum, "last"),
    "spatial attention (CBAM)": (spatial_attention, "last"),
    "multi-head attention": (attention, "last"),
    "LSTM behind convolutions": (recurrent, "last"),
    "channels written out in `view`": (written_out, "last"),
}
TORCHVISION = {
    "resnet18": "fc",
    "resnext50_32x4d": "fc",
    "densenet121": "classifier",
    "googlenet": "fc",
    "squeezenet1_1": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "mnasnet0_5": "classifier.1",
    "efficientnet_b0": "classifier.1",
    "regnet_y_400mf": "fc",
    "shufflenet_v2_x0_5": "fc",
    "convnext_tiny": "classifier.2",
}


def made(name: str) -> tuple[nn.Module, tuple[int, int, int], str]:
    """Return a network in double precision, the shape of its inputs, and the layer that gives its outputs."""
    torch.manual_seed(0)
    if name in OWN:
        make, last = OWN[name]
        return make().double().eval(), SMALL, last
    return build(f"torchvision:{name}", classes=10, channels=3).module.double().eval(), (3, 64, 64), TORCHVISION[name]


def by_edgecnn(name: str) -> tuple[float, bool]:
    """Return the share of the parameters left, and whether the network gives what it gives with the rest at zero."""
    module, shape, _ = made(name)
    units = find_units(module, shape)
    made_smaller = cut(module, shape, dict.fromkeys(units.of_kind(FILTERS), 0.5), units=units)
    small = made_smaller.module
    return parameters(small) / parameters(module), agree(small, zeroed(module, made_smaller.gone), shape)


def by_torch_pruning(name: str) -> tuple[float, bool]:
    """Return the same for torch-pruning's pruner of groups by magnitude."""
    module, shape, last = made(name)
    module.requires_grad_(True)
    small, zero = copy.deepcopy(module), copy.deepcopy(module)
    example = torch.rand(1, *shape, dtype=torch.float64)
    pruner = torch_pruning.pruner.MagnitudePruner(
        small,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[small.get_submodule(last)],
    )
    names = {layer: known for known, layer in small.named_modules()}
    kept = {known: torch.arange(1 << 16) for known in names.values()}
    for group in pruner.step(interactive=True):
        for dependency, places in group.items:
            layer = dependency.target.module
            if layer in names and dependency.handler.__name__ == "prune_out_channels":
                known = names[layer]
                gone = torch.zeros(len(kept[known]), dtype=torch.bool)
                gone[list(places)] = True
                set_to_zero(zero.get_submodule(known), kept[known][gone])
                kept[known] = kept[known][~gone]
        group.prune()
    return parameters(small) / parameters(module), agree(small, zero, shape)


def set_to_zero(layer: nn.Module, filters: torch.Tensor) -> None:
    """Have *layer* give 0 for some of its *filters*."""
    with torch.no_grad():
        for tensor in (getattr(layer, "weight", None), getattr(layer, "bias", None)):
            if isinstance(tensor, torch.Tensor):
                tensor[filters] = 0


def agree(a: nn.Module, b: nn.Module, shape: tuple[int, ...]) -> bool:
    x = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        given, expected = a.double().eval()(x), b.double().eval()(x)
    return given.shape == expected.shape and bool((given - expected).abs().max() <= 1e-9 * expected.abs().max())


def parameters(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


WAYS = {"edgecnn": by_edgecnn, "torch-pruning": by_torch_pruning}


def tell(way: str, name: str) -> str:
    """Return what came of one network in one way, in a few words."""
    warnings.simplefilter("ignore")
    try:
        left, same = WAYS[way](name)
    except Exception as error:
        # Any error is a result here.
        return f"{type(error).__name__}"
    return f"{left:.1%}, {'same' if same else 'other outputs'}"


def main() -> None:
    """Try all, each in a process of its own that may take `LIMIT_S` seconds, and write the table."""
    rows = []
    for name in (*OWN, *TORCHVISION):
        cells = []
        for way in WAYS:
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            try:
                cells.append(pool.submit(tell, way, name).result(LIMIT_S))
            except TimeoutError:
                cells.append(f"not done in {LIMIT_S} s")
            for process in pool._processes.values():
                process.kill()
            pool.shutdown(cancel_futures=True)
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    versions = f"torch {torch.__version__}, torch-pruning {torch_pruning.__version__}, {platform.machine()}"
    head = "| network | parameters left: edgecnn | torch-pruning alone |\n| --- | --- | --- |"
    notes = (
        'Half of the filters of each layer that can lose some; "same": what is left gives what the whole network\n'
        "gives with those filters at zero, in double precision; an error is what the pruning, or the pruned network,\n"
        f"ends in. By `benchmarks/wirings.py`, random weights; {versions}."
    )
    text = "\n".join((head, *rows, "", notes)) + "\n"
    write_whole(RESULT, text)


if __name__ == "__main__":
    main()
