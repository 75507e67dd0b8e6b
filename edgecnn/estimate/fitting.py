"""Fit latency coefficients to latencies of whole networks, in relative error, and say how far they reach.

The latency of a network is the sum over the kinds of operators of cost times amount (multiply-adds, bytes, number).
The costs are the most probable ones given the latencies and a prior: log costs are normal about those of PRIORS, with a
common factor left free (how fast the device is), and each kind of term and each single cost free to differ within
the spreads below. So a few published figures move what they tell about, and hundreds of measured ones everything;
no cost is ever negative. Solved by Gauss-Newton, with numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.device import COARSER_KINDS, LATENCY_KINDS, OperatorCost
from edgecnn.errors import EdgecnnError
from edgecnn.estimate.work import Blocks, Work
from edgecnn.formats.precision import PRECISIONS

Floats = npt.NDArray[np.float64]

#: What published figures, a handful a board, can tell apart.
COARSE_KINDS = tuple(dict.fromkeys(COARSER_KINDS.values()))

_TERMS = ("ns_per_mac", "ns_per_byte", "ns_per_operator")
_STEPS = 60


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the natural logarithm of: the device's speed, a term of all kinds, one cost, a latency."""

    speed: float = 3.0
    term: float = 0.6
    cost: float = 0.3
    latency: float = 0.1


def _prior(conv: float, byte: float, other_byte: float, operator: float = 3e5) -> Floats:
    """Return costs in units of a pointwise multiply-add, by kind (COARSE_KINDS) and term.

    A depthwise kernel does about a third of the multiply-adds a second (each value is used 9 times, not hundreds),
    and starting an operator on several threads takes some ten microseconds, 3e5 multiply-adds (*operator*).
    """
    macs = {"conv": conv, "pointwise": 1.0, "depthwise": 3.0, "linear": 1.0, "other": 4.0}
    return np.array([(macs[kind], other_byte if kind == "other" else byte, operator) for kind in COARSE_KINDS]).ravel()


#: Runtimes of microcontrollers, first TFLite Micro, then those whose kernels are nearest to its own, its old one last.
MICRO_RUNTIMES = ("tflite-micro", "microtvm-cmsis-nn", "stm32-cube-ai", "plumerai", "tflite-micro-2.3.1")

#: There a load moves up to four bytes in the one or two cycles of a multiply-add, and an operator starts in a few
#: thousand; the bytes' round number was chosen by the held-out errors of MLPerf Tiny's figures.
_MICRO_PRIOR = _prior(1, 0.5, 2, 2e3)

#: (runtime, precision) → what is believed before any figure. Between int8 convolutions ncnn returns to float for what
#: is no convolution.
#: The round numbers for bytes were chosen by the held-out errors of the published figures of boards with older cores.
PRIORS: Mapping[tuple[str, str], Floats] = {
    ("ncnn", "fp32"): _prior(1, 3, 6),
    ("ncnn", "w8a8"): _prior(1, 8, 64),
    ("", "fp32"): _prior(1, 2, 4),
    ("", "w8"): _prior(1, 4, 8),
    ("", "w8a8"): _prior(1, 8, 16),
    **{(runtime, "w8a8"): _MICRO_PRIOR for runtime in MICRO_RUNTIMES},
}

#: (runtime, precision) → share of the multiply-adds of a 3x3 convolution that Winograd's algorithm leaves, transforms
#: included; chosen by the errors on networks held out.
WINOGRAD = {("ncnn", "fp32"): 0.4, ("ncnn", "w8a8"): 0.6}


def amounts_of(
    works: Iterable[Work], precision: str, blocks: Blocks | None = None, kinds: Sequence[str] = LATENCY_KINDS
) -> Floats:
    """Return what the operators amount to, [kinds x (multiply-adds, bytes, operators)], flat."""
    row = PRECISIONS[precision]
    rows = np.zeros((len(kinds), len(_TERMS)))
    for work in works:
        moved_bytes = work.activations * row.value_bytes + work.weights * row.weight_bytes
        kind = work.kind if work.kind in kinds else COARSER_KINDS[work.kind]
        rows[kinds.index(kind)] += work.padded_macs(blocks or Blocks()), moved_bytes, 1
    return rows.ravel()


def prior_of(runtime: str, precision: str, kinds: Sequence[str] = LATENCY_KINDS) -> Floats:
    """Return the row of PRIORS for *kinds*, the common one where the runtime has none of its own."""
    own = PRIORS.get((runtime, precision))
    rows = (PRIORS["", precision] if own is None else own).reshape(len(COARSE_KINDS), len(_TERMS))
    return rows[[COARSE_KINDS.index(COARSER_KINDS[kind]) for kind in kinds]].ravel()


def fit_costs(amounts: Floats, latencies_ns: Floats, prior: Floats, spread: Spread | None = None) -> Floats:
    """Return the costs [c] in ns that fit *latencies_ns* [n] of networks with *amounts* [n, c].

    Raises:
        EdgecnnError: no network, or a latency that is not above zero.
    """
    if len(latencies_ns) == 0 or not np.all(np.isfinite(latencies_ns)) or np.any(latencies_ns <= 0):
        raise EdgecnnError("fitting latency coefficients takes at least one network, with latencies above zero")
    spread = spread or Spread()
    term = np.arange(prior.size) % len(_TERMS)
    covariance = spread.speed**2 + spread.term**2 * (term[:, None] == term) + spread.cost**2 * np.eye(prior.size)
    precision = np.linalg.inv(covariance)
    # The device's speed, from the networks alone, is where the search begins; it is not held to it.
    start = np.log(prior) + np.median(np.log(latencies_ns / (amounts @ prior)))
    log_costs, mean = start.copy(), start
    for _ in range(_STEPS):
        parts = amounts * np.exp(log_costs)
        predicted = parts.sum(axis=1)
        slope = parts / predicted[:, None]
        missing = np.log(latencies_ns / predicted)
        gradient = slope.T @ missing / spread.latency**2 - precision @ (log_costs - mean)
        step = np.linalg.solve(slope.T @ slope / spread.latency**2 + precision, gradient)
        log_costs += np.clip(step, -0.5, 0.5)
        if np.max(np.abs(step)) < 1e-9:
            break
    return np.asarray(np.exp(log_costs))


def held_out_ratios(
    amounts: Floats,
    latencies_ns: Floats,
    prior: Floats,
    spread: Spread | None = None,
    families: Sequence[str | None] | None = None,
) -> Floats:
    """Return truth / estimate of networks [m], the costs fitted to all that are of another family.

    Without *families* each network is one of its own; of one family alone there is nothing to tell. What has the
    family None (single operators) is always fitted to, and has no ratio.
    """
    own = list(map(str, range(len(latencies_ns)))) if families is None else list(families)
    known = [family for family in dict.fromkeys(own) if family is not None]
    if len(known) < 2:
        return np.zeros(0)
    found = []
    for family in known:
        held = np.array([one == family for one in own])
        costs = fit_costs(amounts[~held], latencies_ns[~held], prior, spread)
        found.append(latencies_ns[held] / (amounts[held] @ costs))
    return np.concatenate(found)


def band_of(ratios: Floats, coverage: float) -> tuple[float, float]:
    """Return (low, high) = (1/q, q): for *coverage* of the held-out networks truth / estimate lies between.

    q is the smallest that holds for ceil((n + 1) * coverage) of n ratios (split-conformal prediction, Vovk 2005), or
    for all of them where n is smaller than that.
    """
    distances = np.sort(np.abs(np.log(ratios)))
    rank = min(int(np.ceil((len(distances) + 1) * coverage)), len(distances))
    q = float(np.exp(distances[rank - 1]))
    return 1 / q, q


def as_costs(costs: Floats, kinds: Sequence[str] = LATENCY_KINDS) -> dict[str, OperatorCost]:
    """Return an array of costs by kind, with four significant digits, as a device profile stores them."""
    rows = costs.reshape(len(kinds), len(_TERMS)).tolist()
    return {
        kind: OperatorCost(**{term: float(f"{value:.4g}") for term, value in zip(_TERMS, row, strict=True)})
        for kind, row in zip(kinds, rows, strict=True)
    }


def as_array(costs: Mapping[str, OperatorCost]) -> Floats:
    """Return the costs of a device profile as `fit_costs` gives them; a kind that is not there costs as its coarser."""
    nothing = OperatorCost()
    found = [costs.get(kind, costs.get(COARSER_KINDS[kind], nothing)) for kind in LATENCY_KINDS]
    return np.array([list(asdict(cost).values()) for cost in found]).ravel()
