"""Fit the latency coefficients of boards to published figures, write them into devices/*.toml, and test them.

`python benchmarks/fit_published.py [--dry-run]` reads benchmarks/tables/published_latency.csv and
reference_networks.py. All boards are fitted at once (pooled_fit.py), microcontrollers apart. Then every network is left
out on all boards, and every source (one machine of a published table, with all of its figures), and predicted from the
rest. Each error is divided by the deviation that the fit states for it, and the band is as many deviations wide as hold
LEVEL of those errors, the correction for a finite number included (split-conformal prediction, Vovk 2005), for the test
without the errors of the network or source itself. The results go to benchmarks/tables/estimates/published.json and
published.md. Takes some three minutes.

The deviation is that of a new network on another machine of the same kind: the fit's own, and how far sources of one
board differ (SOURCES). Of a microcontroller several submissions count as one source, whatever version they ran.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pooled_fit import Errors, Level, PooledFit, Row
from reference_networks import works_of

from edgecnn.device import LatencyModel, load_device
from edgecnn.estimate.coefficients import write_coefficients
from edgecnn.estimate.fitting import MICRO_RUNTIMES, WINOGRAD, Floats, amounts_of, as_costs, prior_of
from edgecnn.estimate.work import Blocks
from edgecnn.files import write_whole
from edgecnn.shipped import shipped

TABLES = Path(__file__).parent / "tables"
FIGURES = TABLES / "published_latency.csv"
RESULTS = TABLES / "estimates/published"
COVERAGE = 0.9
#: Bands are made to hold this share: figures of one source, and of one network, are alike, and count as fewer.
LEVEL = 0.93
#: What these figures can tell apart.
KINDS = ("conv", "pointwise", "depthwise", "linear", "max_pooling", "other")
BOARDS = ("rpizero2w", "rpi3bplus", "rpi4", "rpi5", "jetson-nano", "orangepi5", "snapdragon8gen2")
MICROCONTROLLERS = ("stm32h7a3", "stm32f746", "stm32l4r5", "stm32u575", "nrf5340", "ra8d1")
#: Multiply-adds in float32 that a core can begin in a cycle (Arm's software optimization guides; for several kinds
#: their mean), by which rows are expected to differ; what the core makes of it is fitted.
MACS_A_CYCLE = {
    "Cortex-A7": 2,
    "Cortex-A53": 4,
    "Cortex-A55": 4,
    "Cortex-A57": 4,
    "Cortex-A72": 4,
    "Tremont": 4,
    "Cortex-A76": 8,
    "Cortex-X3": 16,
    "Cortex-A72 and Cortex-A53": 4,
    "Cortex-A76 and Cortex-A55": 6,
    "Kryo (all but small)": 10,
    "Kryo (all)": 8,
}
#: Cores before Armv8.2: neither dot product nor half-precision arithmetic, so other kernels than on what came after.
OLDER = ("Cortex-A7", "Cortex-A53", "Cortex-A57", "Cortex-A72", "Cortex-A72 and Cortex-A53")
X86 = ("Tremont",)
#: A source that has newer cores and ran older kernels: 14 of its A76's 19 multiply-adds a nanosecond in float on
#: MobileNet is what float32 gives, other RK3588 boards do 25, in half precision; its int8 is as far behind.
OLDER_KERNELS = ("Rockchip RK3588 (Cortex-A76 2.4GHz x 4 + Cortex-A55 1.8GHz x 4)",)
#: Devices of the table that are the same board, for what their figures say of its speed.
SAME_BOARD = {"orangepi5": "rk3588", "orangepi4-rk3399": "rk3399"}
#: A row's expected time falls as its clock rises, and as so many threads share it.
THREADS_POWER = 0.75

LEVELS = (
    Level(("runtime", "precision"), 2, 0.4, 0.2),
    Level(("runtime", "precision", "family"), 0.5, 0.3, 0.2),
    Level(("core",), 0.5, 0.2),
    Level(("runtime", "precision", "family", "core"), 0.2, 0.15, 0.1),
    Level(("family", "parallel"), 0.2, 0.3),
    Level(("board",), 0.15),
    Level(("source",), 0.2),
    Level(("source", "precision"), 0.1, 0.1),
    Level(("source", "core", "threads"), 0.15, 0.15),
    Level(("source", "core", "threads", "precision", "runtime"), 0.05, 0.05, 0.05),
)
ERRORS = Errors(network=0.2, figure=0.08)
#: Standard deviation of the logarithm between sources of one board that is believed before any are compared, and the
#: number of comparisons that this belief is worth.
SOURCES, SOURCES_WORTH = 0.15, 4.0

Mask = npt.NDArray[np.bool_]
_SAME = ("runtime", "precision", "threads", "core", "bits", "family")
_ROW = ("device", "named", "cores", "clock_mhz", "runtime", "precision", "threads", "source")


def read_rows(*, microcontrollers: bool) -> list[Row]:
    """Return the rows of the table; a network that comes again in the same group begins another row."""
    groups: dict[tuple[str, ...], list[dict[str, float]]] = defaultdict(list)
    with FIGURES.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if (line["runtime"] in MICRO_RUNTIMES) == microcontrollers:
                own = groups[tuple(line[key] for key in _ROW)]
                row = next((row for row in own if line["network"] not in row), None)
                if row is None:
                    own.append(row := {})
                row[line["network"]] = float(line["latency_ms"]) * 1e6
    return [_row(dict(zip(_ROW, key, strict=True)), figures) for key, rows in groups.items() for figures in rows]


def blocks_of(runtime: str, precision: str) -> Blocks:
    """Return what kernels compute at once: without vectors of 8 channels cost what they are."""
    return Blocks(1, 1) if runtime in MICRO_RUNTIMES else Blocks(winograd=WINOGRAD.get((runtime, precision), 1.0))


def _row(facts: dict[str, str], figures: dict[str, float]) -> Row:
    runtime, precision, threads = facts["runtime"], facts["precision"], int(facts["threads"])
    core, device = facts["cores"], facts["device"]
    older = core in OLDER or facts["named"] in OLDER_KERNELS
    family = "microcontroller" if runtime in MICRO_RUNTIMES else "older" if older else "newer"
    blocks = blocks_of(runtime, precision)
    keys = {
        **{key: facts[key] for key in ("device", "runtime", "precision", "threads")},
        "core": core,
        "url": facts["source"],
        "source": facts["named"],
        "family": "x86" if core in X86 else family,
        "parallel": str(threads > 1),
        "board": SAME_BOARD.get(device, device.removesuffix("-armv7")) + core,
        "bits": "32" if device.endswith("-armv7") else "64",
    }
    return Row(
        facts=keys,
        prior=prior_of(runtime, precision, KINDS),
        scale=float(
            -np.log(float(facts["clock_mhz"]) / 1000 * MACS_A_CYCLE.get(core, 1)) - THREADS_POWER * np.log(threads)
        ),
        networks=tuple(figures),
        amounts=np.array([amounts_of(works_of(name), precision, blocks, KINDS) for name in figures]),
        latencies_ns=np.array(list(figures.values())),
    )


@dataclass(frozen=True)
class Miss:
    """How one figure that was left out differs from what was predicted."""

    row: int
    item: str  # the network or source that was left out
    network: str
    log_ratio: float  # of truth / estimate
    deviation: float  # that the procedure states for it
    own: bool  # figures of the same kind of board, threads and precision were left

    @property
    def distance(self) -> float:
        """In deviations."""
        return abs(self.log_ratio) / self.deviation


@dataclass(frozen=True)
class Procedure:
    """How the costs of a row come from a fit: those of its own board where it has figures, else predicted."""

    rows: Sequence[Row]
    used: Sequence[Mask]
    fit: PooledFit

    def own(self, row: int) -> list[int]:
        """Return the rows with figures of the same device with the same settings, else of the same board."""
        facts = self.rows[row].facts
        for key in ("device", "board"):
            found = [
                place
                for place, other in enumerate(self.rows)
                if self.used[place].any() and all(facts[name] == other.facts[name] for name in (key, *_SAME))
            ]
            if found:
                return found
        return []

    def costs(self, row: int) -> Floats:
        """Return the costs, [c]: the geometric mean of those of its own rows."""
        own = self.own(row) or [row]
        return np.asarray(np.exp(np.mean(self.fit.log_costs[own], axis=0)))

    def deviation(self, row: int, amounts: Floats) -> Floats:
        """Return the standard deviation of the logarithm of truth / estimate, [n], on a machine of that kind."""
        own = self.own(row)
        fitted = np.mean([self.fit.predict(place, amounts).deviation ** 2 for place in own or [row]], axis=0)
        between = self._between(self.rows[row].facts["board"]) ** 2 if own else 0.0
        return np.asarray(np.sqrt(fitted + between))

    def _between(self, board: str) -> float:
        """Return how far sources of *board* with the same settings differ, with little trust in few."""
        settings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            if row.facts["board"] == board and self.used[place].any():
                settings[tuple(row.facts[key] for key in _SAME)].append(place)
        total, count = SOURCES_WORTH * SOURCES**2, SOURCES_WORTH
        for places in settings.values():
            # How long the first one's networks take with the costs of each.
            levels = [np.mean(np.log(self.rows[places[0]].amounts @ self.fit.costs(place))) for place in places]
            total += float(np.sum((np.array(levels) - np.mean(levels)) ** 2))
            count += len(levels) - 1
        return float(np.sqrt(total / count))


def fitted(rows: Sequence[Row], used: Sequence[Mask], start: Floats | None = None) -> Procedure:
    """Return the procedure, fitted to the figures that *used* keeps."""
    return Procedure(rows, used, PooledFit(rows, used, LEVELS, ERRORS, start))


def misses(rows: Sequence[Row], items: Callable[[Row], Sequence[str]], start: Floats) -> Iterator[Miss]:
    """Leave out each of *items* (one for every figure of a row) on all rows, and yield what was predicted of it."""
    of = [np.array(items(row)) for row in rows]
    for item in dict.fromkeys(np.concatenate(of).tolist()):
        procedure = fitted(rows, [own != item for own in of], start)
        for place, row in enumerate(rows):
            held = of[place] == item
            if held.any():
                amounts, own = row.amounts[held], bool(procedure.own(place))
                ratios = np.log(row.latencies_ns[held] / (amounts @ procedure.costs(place)))
                deviations = procedure.deviation(place, amounts)
                for network, ratio, deviation in zip(np.array(row.networks)[held], ratios, deviations, strict=True):
                    yield Miss(place, item, str(network), float(ratio), float(deviation), own)


def width_of(found: Sequence[Miss]) -> float:
    """Return how many deviations hold LEVEL of *found*, ceil((n + 1) LEVEL) of n."""
    distances = np.sort([miss.distance for miss in found])
    rank = min(int(np.ceil((len(distances) + 1) * LEVEL)), len(distances))
    return float(distances[rank - 1]) if len(distances) else 0.0


@dataclass(frozen=True)
class Tested:
    """All figures left out in one way, and how wide the band is for each."""

    way: str  # "network" or "source"
    misses: tuple[Miss, ...]
    widths: tuple[float, ...]  # in deviations, from the misses of all other items

    def inside(self) -> list[bool]:
        """Return of each figure whether it lies in its band."""
        return [miss.distance <= width for miss, width in zip(self.misses, self.widths, strict=True)]


def tested(way: str, found: Sequence[Miss], others: Sequence[Miss]) -> Tested:
    """Return *found* with the width for each: from what is no figure of its own item, here and in *others*."""
    widths = {}
    for own in (True, False):
        for item in {miss.item for miss in found if miss.own is own}:
            rest = [miss for miss in found if miss.own is own and miss.item != item]
            widths[item, own] = max(width_of(rest), width_of([miss for miss in others if miss.own is own]))
    return Tested(way, tuple(found), tuple(widths[miss.item, miss.own] for miss in found))


def models_of(device: str, procedure: Procedure, width: float) -> list[LatencyModel]:
    """Return the coefficients of *device*, a table for each runtime, precision, number of threads and set of cores."""
    settings: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(procedure.rows):
        if row.facts["device"] == device:
            settings[tuple(row.facts[key] for key in _SAME)].append(place)
    return [_model(device, procedure, places, width) for _, places in sorted(settings.items())]


def _model(device: str, procedure: Procedure, places: Sequence[int], width: float) -> LatencyModel:
    rows = [procedure.rows[place] for place in places]
    facts = rows[0].facts
    cores = [core.name for core in load_device(device).cores]
    blocks = blocks_of(facts["runtime"], facts["precision"])
    networks = sorted({network for row in rows for network in row.networks})
    amounts = np.concatenate([row.amounts for row in rows])
    high = float(f"{np.exp(width * np.mean(procedure.deviation(places[0], amounts))):.4f}")
    urls = "; ".join(dict.fromkeys(row.facts["url"] for row in rows))
    return LatencyModel(
        runtime=facts["runtime"],
        precision=facts["precision"],
        threads=int(facts["threads"]),
        costs=as_costs(procedure.costs(places[0]), KINDS),
        low=float(f"{1 / high:.4f}"),
        high=high,
        coverage=COVERAGE,
        networks=len(networks),
        source=f"fitted by benchmarks/fit_published.py to published figures of {', '.join(networks)}: {urls}; "
        "shape and band from the figures of all boards, whole networks and whole sources held out",
        input_block=blocks.inputs,
        output_block=blocks.outputs,
        winograd=blocks.winograd,
        cores=facts["core"] if len(cores) > 1 and facts["core"] in cores else None,
    )


def summary(rows: Sequence[Row], tests: Sequence[Tested]) -> list[dict[str, object]]:
    """Return coverage, median truth / estimate and median width of the band by way, device, cores and threads."""
    found = []
    for test in tests:
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, miss in enumerate(test.misses):
            facts = rows[miss.row].facts
            groups[("all",) * 5].append(index)
            groups[tuple(facts[key] for key in ("device", "core", "runtime", "precision", "threads"))].append(index)
        inside = test.inside()
        for key, indices in groups.items():
            own = [test.misses[index] for index in indices]
            widths = [test.widths[index] * test.misses[index].deviation for index in indices]
            found.append(
                {
                    **dict(zip(("device", "cores", "runtime", "precision", "threads"), key, strict=True)),
                    "left_out": test.way,
                    "figures": len(own),
                    "inside": round(float(np.mean([inside[index] for index in indices])), 3),
                    "median_ratio": round(float(np.exp(np.median([miss.log_ratio for miss in own]))), 3),
                    "median_error": round(float(np.median([abs(np.expm1(-miss.log_ratio)) for miss in own])), 3),
                    "band": round(float(np.exp(np.median(widths))), 2),
                }
            )
    return found


def run(*, microcontrollers: bool) -> tuple[Procedure, float, list[dict[str, object]]]:
    """Fit all boards or all microcontrollers; return the fit, the width of bands in deviations, and the tests."""
    rows = read_rows(microcontrollers=microcontrollers)
    everything = fitted(rows, [np.ones(len(row.networks), bool) for row in rows])
    start = everything.fit.log_costs
    networks = list(misses(rows, lambda row: row.networks, start))
    sources = list(misses(rows, lambda row: [row.facts["source"]] * len(row.networks), start))
    tests = [tested("network", networks, sources), tested("source", sources, networks)]
    widths = [width_of([miss for miss in found if miss.own]) for found in (networks, sources)]
    width = max(widths)
    print("deviations that hold the networks and the sources left out:", [f"{one:.2f}" for one in widths], flush=True)
    return everything, width, summary(rows, tests)


def markdown(title: str, text: str | None, results: Sequence[dict[str, object]]) -> str:
    """Return the results as a table below what the docstring *text* of a script says."""
    columns = list(results[0])
    lines = [f"# {title}", "", *(text or "").splitlines()[2:], ""]
    lines += ["`band`: the figure is predicted to lie between estimate / band and estimate x band (the median).", ""]
    lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in results]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fit and test both groups, write every device and the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="write no device file")
    given = parser.parse_args()
    results = []
    for microcontrollers, devices in ((False, BOARDS), (True, MICROCONTROLLERS)):
        procedure, width, found = run(microcontrollers=microcontrollers)
        results += [{"group": "microcontrollers" if microcontrollers else "boards", **row} for row in found]
        for device in devices:
            models = models_of(device, procedure, width)
            path = shipped("devices") / f"{device}.toml"
            if not given.dry_run:
                write_coefficients(path, path, models)
            for model in models:
                what = f"{model.runtime:17} {model.precision:5} {model.threads} threads {model.cores or ''}"
                print(f"{device:16} {what} {model.networks} networks, band x {model.high:.2f}", file=sys.stdout)
        print(f"{width:.2f} deviations", [row for row in found if row["device"] == "all"], flush=True)
    write_whole(RESULTS.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
    write_whole(RESULTS.with_suffix(".md"), markdown("Published figures, predicted without them", __doc__, results))


if __name__ == "__main__":
    main()
