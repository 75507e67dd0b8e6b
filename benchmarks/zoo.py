"""torchvision's detectors and segmentation networks, and CNNs of timm, through the export.

    python benchmarks/zoo.py                          # those that have no row yet in benchmarks/tables/tasks/zoo.md
    python benchmarks/zoo.py timm:mobilenetv4_conv_small   # these alone, anew; the other rows stay

Random weights and noise, with batch norms that fit it: what counts is whether each file computes what the network does,
or a line says why there is none. Inputs are the smallest that the networks take. Files of both formats, float and int8,
are verified by the limits of the recipe `board`; an int8 file of random weights may break them, and says so.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.nets.builders import torchvision_names
from edgecnn.nets.network import Network, build
from edgecnn.pipeline import export_model
from edgecnn.recipe import load_recipe

RESULT = Path(__file__).parent / "tables" / "tasks" / "zoo.md"
SAMPLES = 4
#: Network → the side of its input, where 64 is too small or not what it is made for.
SIDES = {"torchvision:ssd300_vgg16": 300, "torchvision:ssdlite320_mobilenet_v3_large": 320}
TIMM = (
    "mobilenetv4_conv_small", "mobilenetv3_small_050", "efficientnet_lite0", "efficientnet_es", "mixnet_s",
    "ghostnet_050", "mnasnet_small", "fbnetc_100", "lcnet_050", "tinynet_e", "resnet18", "resnet26d", "regnetx_002",
    "regnety_002", "repvgg_a0", "convnext_atto", "densenet121", "dla34", "hardcorenas_a", "edgenext_xx_small",
    "vgg11", "mobileone_s0", "fastvit_t8", "semnasnet_075",
)  # fmt: skip
HEAD = "| network | input | ONNX | int8 ONNX | TFLite | int8 TFLite | seconds |\n" + "| --- " * 7 + "|"
COLUMNS = (("onnx", "fp32"), ("onnx", "w8a8"), ("tflite", "fp32"), ("tflite", "w8a8"))


def names() -> list[str]:
    dense = [*torchvision_names("detection"), *torchvision_names("segmentation")]
    return [*(f"torchvision:{name}" for name in dense), *(f"timm:{name}" for name in TIMM)]


def row_of(name: str, folder: Path) -> str:
    """Return the table's row of a network."""
    side, start = SIDES.get(name, 64), time.monotonic()
    board = load_recipe("board")
    calibration = replace(board.calibration, samples=SAMPLES)
    recipe = replace(board, evaluation_samples=SAMPLES, calibration=calibration)
    try:
        network = with_signal(build(name), (3, side, side))
        result = export_model(network, folder, recipe=recipe, data=DataSource(input_shape=(3, side, side)))
    except EdgecnnError as error:
        return f"| `{name}` | 3 x {side} x {side} | {_short(str(error))} | | | | {time.monotonic() - start:.0f} |"
    cells = []
    for key in COLUMNS:
        done = [file for file in result.files if (file.artifact.format, file.artifact.precision) == key]
        failed = [file for file in result.failed if (file.format, file.precision) == key]
        sqnr = f"{done[0].parity.worst.sqnr_db:.0f} dB" if done and done[0].parity.worst else "same"
        rejected = done and done[0].rejected
        cells.append(f"rejected: {_short(str(rejected))}" if rejected else _short(failed[0].reason) if failed else sqnr)
    return f"| `{name}` | 3 x {side} x {side} | {' | '.join(cells)} | {time.monotonic() - start:.0f} |"


def with_signal(network: Network, shape: tuple[int, ...]) -> Network:
    """Return *network* with its batch norms' statistics of noise: through random weights the signal else fades away."""
    norms = [layer for layer in network.module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.module(torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(0)))
    for layer in norms:
        layer.eval()
    return network


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "/")[:300]


def main() -> None:
    known = {}
    if RESULT.exists():
        lines = [line for line in RESULT.read_text().splitlines() if line.startswith("| `")]
        known = {line.split("`")[1]: line for line in lines}
    for name in sys.argv[1:] or [name for name in names() if name not in known]:
        with tempfile.TemporaryDirectory() as folder:
            known[name] = row_of(name, Path(folder))
        print(known[name], flush=True)
        rows = "\n".join(known[one] for one in names() if one in known)
        write_whole(RESULT, f"{TEXT}{HEAD}\n{rows}\n".encode())


TEXT = """# Networks of torchvision and timm through the export

Random weights, noise, batch norms that fit it. A cell has the signal-to-noise ratio of the worst output or channel
against torch; a rejected file breaks the limits of the recipe `board`. `python benchmarks/zoo.py` writes this page, and
goes on with the networks that have no row yet. The seconds are those of a busy machine.

"""

if __name__ == "__main__":
    main()
