"""Calibrate the latency estimate of a device: measure operators and networks on it and fit what operators cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.device import HOST, LatencyModel, device_file, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate.coefficients import merge_models, write_coefficients
from edgecnn.estimate.fitting import Spread, amounts_of, as_costs, band_of, fit_costs, held_out_ratios, prior_of
from edgecnn.estimate.latency import CALIBRATED
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.export.synthetic import CHAINS, PRECISIONS, family_of, write_chain, write_synthetic
from edgecnn.formats import read_graph
from edgecnn.locks import PrivateFolder
from edgecnn.progress import Progress, silent
from edgecnn.shipped import shipped, user_folder
from edgecnn.targets import Target, open_target, target_of

COVERAGE = 0.9
LEAST_NETWORKS = 12
#: What kernels may compute at once; the one that predicts best is taken. NEON and AVX: 8 or 16 outputs, int8 dot
#: products over 4 or 8 inputs, AMX tiles of 64 by 64.
BLOCKS = tuple(Blocks(inputs, outputs) for inputs in (1, 4, 8, 16, 64) for outputs in (8, 16, 32, 64))
#: Many networks say more than long measurements of few.
EFFORT = BenchmarkConfig(processes=1, warmup_s=0.2, min_time_s=0.5, min_values=10)
#: Measured here, the costs owe little to what is believed of them; latencies of one board repeat within some percent.
SPREAD = Spread(term=1.5, cost=1.0, latency=0.05)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, and how well it predicts networks it has not seen."""

    device: str
    model: LatencyModel
    median_error: float  # of |estimate / truth - 1| over held-out networks, a fraction
    p90_error: float
    path: Path  # where the coefficients are written

    def to_json(self) -> dict[str, Any]:
        """Return the calibration for `--json`; errors and band as fractions."""
        errors = {"median_error": self.median_error, "p90_error": self.p90_error}
        return {"device": self.device, **asdict(self.model), **errors, "path": str(self.path)}


def calibrate(
    device: Path | str,
    *,
    target: str | None = None,
    threads: Sequence[int] = (1,),
    precisions: Sequence[str] = PRECISIONS,
    networks: int = 36,
    effort: BenchmarkConfig | None = None,
    progress: Progress = silent,
) -> list[Calibration]:
    """Measure synthetic networks with LiteRT on a board, and write the fitted latency coefficients into its profile.

    The coefficients go to the device's file if *device* is a path or one of the user's own, else to a copy of the
    shipped file in the user's folder. Coefficients of other precisions and numbers of threads are kept.

    Args:
        device: the device, as `load_device` takes it.
        target: where the board is; None: the target tied to the device in `targets.toml`.
        threads: numbers of threads to fit.
        precisions: `fp32`, `w8a8`.
        networks: number of synthetic networks to measure, at least 12.
        effort: how long to measure; None: the defaults of `BenchmarkConfig`.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: an unknown device, too few networks, a target that does not answer, or no LiteRT there.

    Example:
        >>> for fitted in edgecnn.calibrate("my-pi.toml", target="ssh://pi@raspberrypi.local"):  # doctest: +SKIP
        ...     print(fitted.model.runtime, fitted.model.precision, fitted.model.threads)
        litert fp32 1
        litert w8a8 1
    """
    if networks < LEAST_NETWORKS:
        raise EdgecnnError(f"a calibration needs {LEAST_NETWORKS} networks or more; {networks} are too few")
    device = str(device)
    destination = coefficients_file(device)
    found = []
    with open_target(resolve_target(device, target)) as place:
        for precision in precisions:
            for count in threads:
                taken = measure_synthetic(
                    precision, networks, device=device, place=place, threads=count, effort=effort, progress=progress
                )
                found.append(fit_calibration(device, precision, count, taken, place.name, destination))
                # After each, so that what was measured before a failure is kept.
                own = destination if destination.is_file() else device_file(device)
                models = merge_models(load_device(str(own)).latency, [found[-1].model])
                write_coefficients(own, destination, models)
    return found


def coefficients_file(device: str) -> Path:
    """Return the file that the coefficients of *device* go to.

    Raises:
        EdgecnnError: an unknown device; `host`, which has no file.
    """
    if device == HOST:
        raise EdgecnnError(
            "host has no file for coefficients: edgecnn devices probe local > mine.toml, then calibrate mine.toml"
        )
    path = device_file(device)
    return user_folder("devices") / path.name if path.parent == shipped("devices") else path


def resolve_target(device: str, target: str | None) -> str:
    """Return *target*, or the one that the user tied to *device*."""
    chosen = target or target_of(device)
    if target is None and chosen == "local":
        form = load_device(device).target_form
        raise EdgecnnError(f"where is {device}? give --target {form}, or --target local where this machine is one")
    return chosen


@dataclass(frozen=True)
class Timed:
    """One file that was made to calibrate with, and how long it took."""

    works: tuple[Work, ...]  # its operators
    latency_ns: float  # the median
    family: str | None  # what blocks the network is made of; None: a chain of one operator


def measure_synthetic(
    precision: str,
    networks: int,
    *,
    device: str,
    place: Target,
    threads: int = 1,
    effort: BenchmarkConfig | None = None,
    progress: Progress = silent,
) -> list[Timed]:
    """Measure every chain of one operator and so many synthetic *networks* on *place*; what is too big is left out.

    Raises:
        EdgecnnError: *place* counts instructions instead of taking time, or a measurement failed.
    """
    if place.method != "measured":
        raise EdgecnnError(f"{place.name} is {place.method} and measures no time; calibrate on the board itself")
    files: list[tuple[Callable[[Path, int, str], Path], int, str | None]] = [
        *((write_chain, number, None) for number in range(CHAINS)),
        *((write_synthetic, number, family_of(number)) for number in range(networks)),
    ]
    step = f"calibrating {device}: {precision}, {threads} thread{'s' * (threads > 1)}"
    found = []
    with PrivateFolder() as folder:
        for done, (write, number, family) in enumerate(files):
            progress(step, done, len(files))
            path = write(Path(folder) / f"{family or 'chain'}{number}.{precision}.tflite", number, precision)
            taken = measure(
                path, runtime=CALIBRATED, threads=threads, device=device, target=place, effort=effort or EFFORT
            )
            if taken.p50_ns is not None:  # None: the board is too small for this one
                found.append(Timed(tuple(work for _, work in graph_works(read_graph(path))), taken.p50_ns, family))
            path.unlink()
        progress(step, len(files), len(files))
    return found


def fit_calibration(
    device: str, precision: str, threads: int, timed: Sequence[Timed], where: str, path: Path
) -> Calibration:
    """Fit the costs to what was measured.

    Band and errors are those of networks of a family that the costs were not fitted to, as the user's own will be.

    Raises:
        EdgecnnError: fewer than LEAST_NETWORKS networks were measured.
    """
    families = [one.family for one in timed]
    networks = len(families) - families.count(None)
    if networks < LEAST_NETWORKS:
        raise EdgecnnError(f"{where}: only {networks} networks could be measured; {LEAST_NETWORKS} are needed")
    prior = prior_of(CALIBRATED, precision)
    latencies_ns = np.array([one.latency_ns for one in timed])
    amounts = {blocks: np.array([amounts_of(one.works, precision, blocks) for one in timed]) for blocks in BLOCKS}
    predicted = {blocks: held_out_ratios(amounts[blocks], latencies_ns, prior, SPREAD, families) for blocks in BLOCKS}
    blocks = min(BLOCKS, key=lambda blocks: float(np.mean(np.log(predicted[blocks]) ** 2)))
    ratios, costs = predicted[blocks], fit_costs(amounts[blocks], latencies_ns, prior, SPREAD)
    low, high = band_of(ratios, COVERAGE)
    errors = np.abs(1 / ratios - 1)
    model = LatencyModel(
        runtime=CALIBRATED,
        precision=precision,
        threads=threads,
        costs=as_costs(costs),
        low=float(f"{low:.4f}"),
        high=float(f"{high:.4f}"),
        coverage=COVERAGE,
        networks=networks,
        source=f"measured by edgecnn devices calibrate on {where}, {datetime.now(UTC):%Y-%m-%d}: {networks} synthetic "
        f"networks and {len(families) - networks} chains of one operator, median error "
        f"{100 * np.median(errors):.1f} % on networks of a family held out",
        input_block=blocks.inputs,
        output_block=blocks.outputs,
    )
    return Calibration(device, model, float(np.median(errors)), float(np.quantile(errors, 0.9)), path)


__all__ = ["Calibration", "calibrate", "coefficients_file", "fit_calibration", "measure_synthetic"]
