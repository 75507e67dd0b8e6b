"""The figures of phones that `fit_phones.py` fits to: which phones, which of their cores, and one row a setting."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.estimate.fitting import Floats

PRECISIONS = {"float": "fp32", "quant": "w8a8"}


@dataclass(frozen=True)
class Cluster:
    """Equal cores of a phone: the name that its device file gives them, their kind, clock, and kernels for int8."""

    name: str
    kind: str
    clock_mhz: float
    dot: bool


#: Phone → the data's name of its clusters → what they are. The figures tell which int8 kernels they ran: within {Pixel
#: 4, M4 and A55 of the S10}, and within the others, one factor carries most networks; across them it does not.
PHONES: Mapping[str, Mapping[str, Cluster]] = {
    "pixel4": {
        "large": Cluster("Kryo 485 Prime", "cortex-a76", 2840, True),
        "med": Cluster("Kryo 485 Gold", "cortex-a76", 2420, True),
        "small": Cluster("Kryo 485 Silver", "cortex-a55", 1780, True),
    },
    "s10": {
        "large": Cluster("Exynos M4", "exynos-m4", 2730, True),
        "med": Cluster("Cortex-A75", "cortex-a75", 2310, False),
        "small": Cluster("Cortex-A55", "cortex-a55", 1950, True),
    },
    "mi8se": {
        "large": Cluster("Kryo 360 Gold", "cortex-a75", 2200, False),
        "small": Cluster("Kryo 360 Silver", "cortex-a55", 1700, False),
    },
    "a03s": {
        "large": Cluster("Cortex-A53", "cortex-a53", 2350, False),
        "small": Cluster("Cortex-A53 (1.8 GHz)", "cortex-a53", 1800, False),
    },
}
DEVICES = {"pixel4": "pixel4", "s10": "galaxy-s10", "mi8se": "mi8se", "a03s": "galaxy-a03s"}


def family_of(precision: str, dot: bool) -> str:
    """Return the family of kernels."""
    return "fp32" if precision == "fp32" else f"w8a8{'+dot' * dot}"


@dataclass(frozen=True)
class Setting:
    """One column of the data."""

    phone: str
    cluster: Cluster
    threads: int
    precision: str
    latencies_ns: Floats  # [n]

    @property
    def family(self) -> str:
        """Whose shape it has."""
        return family_of(self.precision, self.cluster.dot)

    @property
    def name(self) -> str:
        """`pixel4, Kryo 485 Gold, 2 threads, w8a8`."""
        return f"{self.phone}, {self.cluster.name}, {self.threads} threads, {self.precision}"


def read_settings(path: Path, networks: Sequence[str]) -> list[Setting]:
    """Return the columns of the data that are of equal cores, for *networks* in that order."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    found = []
    for column in next(iter(lines.values())):
        known = re.fullmatch(r"(\w+)\|(\d)(large|med|small)\|(float|quant)\|mean", column)
        if known and known[1] in PHONES:
            latencies_ns = np.array([float(lines[name][column]) * 1e3 for name in networks])
            cluster = PHONES[known[1]][known[3]]
            found.append(Setting(known[1], cluster, int(known[2]), PRECISIONS[known[4]], latencies_ns))
    return found
