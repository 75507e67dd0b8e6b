"""What bfloat16, convolutions by columns, freed memory kept and the fused optimizer are worth (compress/train.py).

    python benchmarks/training_speed.py [NETWORK ...] [--rounds 5]

Training steps of 128 images on the CPU as edgecnn trains, as torch alone does in bfloat16, and as it does in float32,
by turns in one process on a quiet machine. The medians, and our time over the two others', go to
benchmarks/tables/training_speed-FEATURE.json: FEATURE is what the CPU has for bfloat16.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from edgecnn.compress.im2col import Columns
from edgecnn.compress.malloc import freed_memory_kept
from edgecnn.compress.train import BFLOAT16
from edgecnn.host import read_host
from edgecnn.nets.network import build

TABLES = Path(__file__).parent / "tables"
BATCH = 128
STEPS = 4

#: Name → whether it is our way, and in bfloat16.
SIDES = {"edgecnn": (True, True), "library": (False, True), "float32": (False, False)}


class Side:
    """One way to train a network."""

    def __init__(self, network: str, *, ours: bool, bfloat16: bool) -> None:
        module = build(f"edgecnn:{network}", classes=10, channels=3).module
        self.module = module.to(memory_format=torch.channels_last).train()
        settings = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "fused": ours}
        self.optimizer = torch.optim.SGD(self.module.parameters(), **settings)
        self.bfloat16 = bfloat16
        self.way = Columns if ours else contextlib.nullcontext
        self.memory = freed_memory_kept if ours else contextlib.nullcontext

    def seconds(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Return the mean time of a step."""
        with self.memory():
            self._step(x, y)  # what the other side has left in memory is not this side's gain or loss
            started = time.perf_counter()
            for _ in range(STEPS):
                self._step(x, y)
            return (time.perf_counter() - started) / STEPS

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16), self.way():
            scores = self.module(x)
        self.optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(scores.float(), y))
        self.optimizer.step()


def compare(network: str, rounds: int) -> dict[str, object]:
    """Return the medians of all sides, one after the other in each round, the first left out."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    sides = {name: Side(network, ours=ours, bfloat16=bfloat16) for name, (ours, bfloat16) in SIDES.items()}
    turns = [{name: side.seconds(x, y) for name, side in sides.items()} for _ in range(rounds + 1)][1:]
    seconds = {name: median(turn[name] for turn in turns) for name in sides}
    ratios = {name: median(turn["edgecnn"] / turn[name] for turn in turns) for name in sides if name != "edgecnn"}
    return {"network": network, "seconds_a_step": seconds, "ratio_to": ratios, "turns": turns}


def main() -> None:
    """Compare each network and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["vgg16", "vgg16-compact", "alexnet", "resnet56"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = [compare(network, given.rounds) for network in given.networks]
    for row in rows:
        print(f"{row['network']}: {row['ratio_to']}")
    host = {"machine": platform.machine(), "features": read_host().features, "threads": torch.get_num_threads()}
    document = {"torch": torch.__version__, **host, "batch": BATCH, "method": "measured", "networks": rows}
    feature = next((name for name in sorted(BFLOAT16) if name in read_host().features), "none")
    (TABLES / f"training_speed-{feature}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
