"""Fit the latency coefficients of boards to published figures, and write them into devices/*.toml.

`python benchmarks/fit_published.py` reads benchmarks/tables/published_latency.csv and reference_networks.py; each
device of the table that has a profile gets a `[[latency]]` table per runtime, precision and number of threads. The band
comes from networks held out: each network's latency foretold from the others on that board, over all boards of the same
kind of core; the board's own misses widen it. Fewer than five networks do not show every kind of operator (XNNPACK's
are all MobileNets, MLPerf Tiny has four networks), so theirs is no narrower than the band of all figures on such cores
with that many threads, on microcontrollers of all of them. Figures that disagree for one device (several rows: another
version of the runtime) are all fitted.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reference_networks import works_of

from edgecnn.device import LatencyModel, load_device
from edgecnn.estimate.coefficients import write_coefficients
from edgecnn.estimate.fitting import (
    COARSE_KINDS,
    MICRO_RUNTIMES,
    Floats,
    amounts_of,
    as_costs,
    band_of,
    fit_costs,
    held_out_ratios,
    prior_of,
)
from edgecnn.estimate.work import Blocks
from edgecnn.shipped import shipped

FIGURES = Path(__file__).parent / "tables/published_latency.csv"
COVERAGE = 0.9
ENOUGH = 5  # networks that show every kind of operator
#: Armv8.0 and older: neither dot product nor half-precision arithmetic, so other kernels than on what came after.
OLDER = ("rpi2", "rpi3", "rpi4", "rpizero2w", "jetson-nano", "rk3399", "orangepi4")
BOARDS = ("rpizero2w", "rpi3bplus", "rpi4", "rpi5", "jetson-nano", "orangepi5", "snapdragon8gen2")
MICROCONTROLLERS = ("stm32h7a3", "stm32f746", "stm32l4r5", "stm32u575", "nrf5340", "ra8d1")


@dataclass(frozen=True)
class Row:
    """The figures of one row of a published table: one device, runtime, precision and number of threads."""

    device: str
    runtime: str
    precision: str
    threads: int
    source: str
    networks: tuple[str, ...]
    latencies_ns: Floats

    @property
    def blocks(self) -> Blocks:
        """Channels that its kernels compute at once: without vectors of 8 they cost what they are."""
        return Blocks(1, 1) if self.runtime in MICRO_RUNTIMES else Blocks()

    @property
    def amounts(self) -> Floats:
        """What each network amounts to, [n, 15]."""
        return np.array(
            [amounts_of(works_of(network), self.precision, self.blocks, COARSE_KINDS) for network in self.networks]
        )

    @property
    def ratios(self) -> Floats:
        """Truth / estimate of each network, held out."""
        return held_out_ratios(self.amounts, self.latencies_ns, prior_of(self.runtime, self.precision, COARSE_KINDS))

    @property
    def family(self) -> str:
        """Processors of the same family are alike, roughly."""
        if self.runtime in MICRO_RUNTIMES:
            return "microcontroller"
        return "older" if self.device.startswith(OLDER) else "newer"

    @property
    def core(self) -> str:
        """Processors of the same core are alike."""
        return load_device(self.device).arch if self.runtime in MICRO_RUNTIMES else self.family


def read_rows() -> list[Row]:
    """Return the rows of the table; a network that comes again in the same group begins a new row."""
    groups: dict[tuple[str, ...], list[dict[str, float]]] = defaultdict(list)
    with FIGURES.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            own = groups[tuple(line[key] for key in ("device", "runtime", "precision", "threads", "source"))]
            row = next((row for row in own if line["network"] not in row), None)
            if row is None:
                own.append(row := {})
            row[line["network"]] = float(line["latency_ms"]) * 1e6
    return [
        Row(device, runtime, precision, int(threads), source, tuple(row), np.array(list(row.values())))
        for (device, runtime, precision, threads, source), rows in groups.items()
        for row in rows
    ]


def fit_device(device: str, rows: list[Row]) -> list[LatencyModel]:
    """Return the coefficients of one device, for each runtime, precision and number of threads of its *rows*."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.device == device:
            groups[row.runtime, row.precision, row.threads].append(row)
    return [fit_group(own, rows) for _, own in sorted(groups.items())]


def fit_group(own: list[Row], rows: list[Row]) -> LatencyModel:
    """Return the coefficients that *own*, rows of one device, runtime, precision and number of threads, ask for."""
    first = own[0]
    amounts = np.concatenate([row.amounts for row in own])
    latencies_ns = np.concatenate([row.latencies_ns for row in own])
    costs = fit_costs(amounts, latencies_ns, prior_of(first.runtime, first.precision, COARSE_KINDS))
    networks = sorted({network for row in own for network in row.networks})
    alike = [row for row in rows if (row.threads, row.core) == (first.threads, first.core)]
    bases = [own, [row for row in alike if (row.runtime, row.precision) == (first.runtime, first.precision)]]
    if len(networks) < ENOUGH:
        bases += [alike, [row for row in rows if (row.threads, row.family) == (first.threads, first.family)]]
    ratios = [np.concatenate([row.ratios for row in base]) for base in bases]
    held_out = max(band_of(base, COVERAGE)[1] for base in ratios)
    fitted = float(np.exp(np.max(np.abs(np.log(latencies_ns / (amounts @ costs))))))
    # A thousandth more, since the costs and the band are stored rounded.
    high = float(f"{max(held_out, 1.001 * fitted):.4f}")
    seen = max(map(len, ratios))
    alike_boards = "boards with the same kind of cores and as many threads"
    kind = "microcontrollers" if first.family == "microcontroller" else alike_boards
    sources = "; ".join(dict.fromkeys(row.source for row in own))
    return LatencyModel(
        runtime=first.runtime,
        precision=first.precision,
        threads=first.threads,
        costs=as_costs(costs, COARSE_KINDS),
        low=float(f"{1 / high:.4f}"),
        high=high,
        coverage=COVERAGE,
        networks=len(networks),
        source=f"fitted by benchmarks/fit_published.py to published figures of {', '.join(networks)}: {sources}; "
        f"band from {seen} held-out figures of {kind}",
        input_block=first.blocks.inputs,
        output_block=first.blocks.outputs,
    )


def main() -> None:
    """Fit and write every device, and print how well each figure is met."""
    rows = read_rows()
    for device in (*BOARDS, *MICROCONTROLLERS):
        models = fit_device(device, rows)
        path = shipped("devices") / f"{device}.toml"
        write_coefficients(path, path, models)
        for model in load_device(device).latency:
            band = f"{100 * (model.low - 1):+.0f} % to {100 * (model.high - 1):+.0f} %"
            what = f"{model.runtime:17} {model.precision:5} {model.threads} threads"
            print(f"{device:16} {what} {model.networks} networks, band {band}", file=sys.stdout)


if __name__ == "__main__":
    main()
