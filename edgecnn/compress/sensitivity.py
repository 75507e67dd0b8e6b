"""What each part of a network is worth: cut it alone, and see what is lost and what is gained.

Rows are ranked by *loss increase* for what they save: bytes, MACs, activations or latency (`GAINS`). The loss increase
of a classifier is the mean probability of the right class that a cut loses. It goes with the accuracy, but every sample
contributes, not only those whose answer flips: on ResNet-20, cuts ranked by it on 512 samples agree better with the
ranking by accuracy on 5000 (Spearman 0.97) than those ranked by accuracy or by cross entropy on the same 512 (0.96,
0.95), with batch norm left as it was. What any training mends at once is not counted: with samples to recalibrate on,
batch norm's statistics follow each cut (`bn_recalibration`), and scores are scaled to the spread of the original's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.compress import layer_of
from edgecnn.compress.channels import Removed
from edgecnn.compress.counting import RanOperator
from edgecnn.compress.criteria import Criterion
from edgecnn.compress.judging import ERROR, LOSS, Trial
from edgecnn.compress.masking import MaskMismatchError
from edgecnn.compress.objective import CLASSIFIER, Objective
from edgecnn.compress.prune import cut, size_of
from edgecnn.compress.ranking import Z, cost_benefits, decide
from edgecnn.compress.settings import CRITERION
from edgecnn.compress.unit import FILTERS, LAYER, SUBSTITUTION, Fixed, Units
from edgecnn.compress.units import find_units
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import ACCURACY, Score, score_to_json
from edgecnn.tasks.task import drop_between, score_of

#: What loss increase can be weighed against.
GAINS = ("bytes", "macs", "activations", "latency")

#: What the operators of a network take together, in ns of a device.
Price = Callable[[Sequence[RanOperator]], float]

_NAMED = 4  # layers with one reason, and reasons, that one line names

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeanInterval:
    """The mean over samples of what each of them lost beside the original, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Costs:
    """What a network takes; `size_bytes` is that of its tensors as they are, in float."""

    params: int
    macs: int
    size_bytes: int
    activations: int = 0  # about the most elements that one operator reads and writes
    latency_ns: float = 0.0  # predicted for the device that was asked about; 0 where none was

    def __sub__(self, other: Costs) -> Costs:
        return Costs(
            self.params - other.params,
            self.macs - other.macs,
            self.size_bytes - other.size_bytes,
            self.activations - other.activations,
            self.latency_ns - other.latency_ns,
        )


@dataclass(frozen=True)
class Row:
    """One unit cut alone, by one ratio: what it did to the answers, and what it saved in the smaller network."""

    __repr__ = short_repr

    unit: str
    kind: str
    ratio: float
    n: int  # samples it was judged on
    score: Score  # by the task's metric
    score_lost: MeanInterval
    loss: float  # mean cross entropy, or mean squared error
    loss_increase: (
        MeanInterval  # of the right class's mean probability, see above; or the share of the input's energy lost
    )
    saved: Costs

    @property
    def layer(self) -> str:
        """The layer or block it is a change of; all changes of one exclude each other."""
        return layer_of(self.unit)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """All rows, in the order in which the units run, beside the original network.

    Example:
        >>> found = edgecnn.measure_sensitivity("edgecnn:digits-cnn", data="digits", ratios=[0.5])
        >>> cheapest = found.ranked[0]
        >>> cheapest.saved.size_bytes > 0
        True
    """

    __repr__ = short_repr

    rows: tuple[Row, ...]
    costs: Costs  # of the original
    n: int  # samples there were
    score: Score  # of the original, on as many samples as any row
    loss: float
    per: str  # what loss increase is weighed against, one of `GAINS`
    agreement: float  # Spearman correlation expected between this ranking and that of samples drawn anew
    fixed: tuple[Fixed, ...] = ()  # the layers whose filters must stay, and why
    notes: tuple[str, ...] = ()
    recalibrated: bool = False  # whether batch norm's statistics and the scores' spread followed each cut
    fixed_whole: tuple[Fixed, ...] = ()  # those that cannot go whole; none are named where that was not asked for
    unsubstituted: tuple[Fixed, ...] = ()  # where the blocks that were asked for cannot stand: "conv1", "conv1:ghost"

    def cost_benefit(self, row: Row, beyond: Row | None = None) -> float:
        """Return what *row* loses for what it saves (see `per`), *beyond* another one; infinity where it saves nothing.

        A loss increase smaller than that of one sample counts as none: then the row that saves most ranks first.
        """
        loss_increase, gain = row.loss_increase.mean, self.gain(row)
        if beyond is not None:
            loss_increase, gain = loss_increase - max(beyond.loss_increase.mean, 0.0), gain - self.gain(beyond)
        return float(cost_benefits(np.array([loss_increase]), np.array([gain], dtype=np.float64), self.n)[0])

    def gain(self, row: Row) -> float:
        """Return how much *row* saves of what loss increase is weighed against, see `per`."""
        return _gain(row.saved, self.per)

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows, the cheapest first."""
        return tuple(sorted(self.rows, key=self.cost_benefit))

    def to_json(self) -> dict[str, Any]:
        """Return the document of `edgecnn sensitivity --json`; fractions, nats or squares.

        `pandas.json_normalize(found.to_json()["rows"])` makes a table of the rows.

        `size_bytes` and `bytes_saved` are of the weights as they are, floats, and not of any file.
        """
        ranks = {id(row): rank for rank, row in enumerate(self.ranked, start=1)}
        original = {
            **score_to_json(self.score),
            "loss": self.loss,
            **asdict(self.costs),
        }
        return {
            "method": "measured",
            "original": original,
            "n": self.n,
            "per": self.per,
            "agreement": self.agreement,
            "recalibrated": self.recalibrated,
            "rows": [
                {
                    "rank": ranks[id(row)],
                    "unit": row.unit,
                    "kind": row.kind,
                    "ratio": row.ratio,
                    "n": row.n,
                    **score_to_json(row.score),
                    **lost_to_json(row.score, row.score_lost),
                    "loss": row.loss,
                    "loss_increase": asdict(row.loss_increase),
                    "params_saved": row.saved.params,
                    "macs_saved": row.saved.macs,
                    "bytes_saved": row.saved.size_bytes,
                    "activations_saved": row.saved.activations,
                }
                for row in self.rows
            ],
            "fixed": [asdict(layer) for layer in self.fixed],
            "fixed_whole": [asdict(layer) for layer in self.fixed_whole],
            "unsubstituted": [asdict(layer) for layer in self.unsubstituted],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """Which cuts to try, how, and how well the ranking must be known."""

    ratios: tuple[float, ...] = (0.5, 1.0)  # of a unit's filters; 1: take the whole layer or block out, where it can go
    criterion: str | Criterion = CRITERION
    round_to: int = 1
    per: str = "bytes"  # what loss increase is weighed against, one of `GAINS`
    agreement: float = 0.98  # sample more until the expected Spearman correlation is this; 1: take all samples
    first: int = 512  # samples that every cut is judged on
    seed: int = 0
    price: Price | None = None  # predicts the latency; needed to weigh against it
    substitutes: tuple[str, ...] = ()  # blocks that may take the place of plain convolutions, names in `SUBSTITUTES`

    def __post_init__(self) -> None:
        wrong = [ratio for ratio in self.ratios if not 0 < ratio <= 1]
        if wrong or not (self.ratios or self.substitutes):
            raise EdgecnnError(f"a ratio is above 0 and at most 1, where 1 removes the layer, not {wrong}")
        for block in self.substitutes:
            SUBSTITUTES.where(block)
        if self.per not in GAINS:
            raise EdgecnnError(f"loss increase is weighed against one of {', '.join(GAINS)}, not '{self.per}'")
        if self.per == "latency" and self.price is None:
            raise EdgecnnError(
                "latency is a goal of compress, which predicts it for a device; weigh by bytes, macs or activations"
            )
        if not 0 < self.agreement <= 1 or self.first < 2:
            raise EdgecnnError("the agreement is above 0 and at most 1, and the first samples are at least 2")


@dataclass(frozen=True)
class Candidate:
    """One unit cut by one ratio, and the network that comes of it."""

    unit: str
    kind: str
    ratio: float
    module: nn.Module
    removed_channels: Removed = field(default_factory=dict)  # the filters that were cut
    reordered: Mapping[str, Sequence[int]] = field(default_factory=dict)  # norm → where each channel was before


def sensitivity(
    module: nn.Module,
    input_shape: tuple[int, ...],
    samples: Samples,
    config: SensitivityConfig,
    normalization: Normalization | None,
    progress: Progress = silent,
    *,
    objective: Objective = CLASSIFIER,
    calibration: Samples | None = None,
    units: Units | None = None,
) -> Sensitivity:
    """Return what each unit of *module* is worth, every one cut alone.

    Args:
        module: in evaluation mode, with one input (C, H, W).
        input_shape: (C, H, W).
        samples: what to judge by; not those that the result is to be evaluated on.
        config: which cuts.
        normalization: how pixels become inputs.
        progress: called with the step, what is done and the total.
        objective: what the network is judged by.
        calibration: samples by which statistics and scores follow each cut, others than those judged by; None: they
            stay, and what they are off counts as loss increase.
        units: what `find_units` gave for this module, where it is known.

    Raises:
        EdgecnnError: a network that cannot be traced, or has nothing to cut; samples it cannot be judged by.
    """
    found = units or find_units(module, input_shape, config.substitutes)
    ratios = {
        FILTERS: sorted(ratio for ratio in config.ratios if ratio != 1),
        LAYER: [1.0] if 1 in config.ratios else [],
        SUBSTITUTION: [1.0],
    }
    cuts = [(unit, ratio) for unit in found.units for ratio in ratios[unit.kind]]
    if not cuts:
        raise EdgecnnError(_nothing(found, config))

    wrong: dict[str, str] = {}  # units that do not give what their mask gives, and why

    def candidates() -> Iterator[Candidate]:
        for done, (unit, ratio) in enumerate(cuts):
            progress("cutting each layer separately", done, len(cuts))
            try:
                smaller = cut(
                    module,
                    input_shape,
                    {unit.name: ratio},
                    criterion=config.criterion,
                    round_to=config.round_to,
                    units=found,
                )
            except MaskMismatchError as error:
                wrong.update(error.units)
                continue
            yield Candidate(unit.name, unit.kind, ratio, smaller.module, smaller.removed_channels, smaller.reordered)

    judged = judge(
        module,
        input_shape,
        candidates(),
        samples,
        config,
        normalization,
        progress,
        found.fixed,
        objective=objective,
        calibration=calibration,
    )
    return replace(
        judged,
        rows=tuple(row for row in judged.rows if row.kind != FILTERS or row.unit not in wrong),
        fixed=(*found.fixed, *(Fixed(name, reason) for name, reason in wrong.items())),
        fixed_whole=found.whole if 1 in config.ratios else (),
        unsubstituted=found.unsubstituted,
    )


def by_reason(fixed: Iterable[Fixed]) -> dict[str, list[str]]:
    """Return the names of layers that must stay, those with one reason together."""
    found: dict[str, list[str]] = {}
    for one in fixed:
        found.setdefault(one.reason, []).append(one.name)
    return found


def shortened(names: Sequence[str]) -> str:
    """Return the first of *names* in one text, and how many there are besides."""
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_NAMED])} and {more} more"


def nowhere(found: Units, blocks: Sequence[str]) -> str:
    """Return that none of *blocks* can take the place of a convolution of *found*, and why."""
    reasons = [f"{shortened(names)}: {reason}" for reason, names in by_reason(found.unsubstituted).items()]
    if len(reasons) > _NAMED:
        reasons[_NAMED:] = [f"{len(reasons) - _NAMED} more reasons"]
    what = " and ".join(blocks)
    return f"{what} cannot take the place of any layer: {'; '.join(reasons) or 'the network has no convolution'}"


def _nothing(found: Units, config: SensitivityConfig) -> str:
    """Return why there is nothing of *found* to cut as *config* says, and by which ratios there is."""
    ratios = config.ratios
    parts = [
        (how, reason, names)
        for how, asked, fixed in (
            ("filters of {}", any(ratio != 1 for ratio in ratios), found.fixed),
            ("{} whole", 1 in ratios, found.whole),
            ("{}", bool(config.substitutes), found.unsubstituted),
        )
        if asked
        for reason, names in by_reason(fixed).items()
    ]
    reasons = [f"{how.format(shortened(names))}: {reason}" for how, reason, names in parts[:_NAMED]]
    if len(parts) > _NAMED:
        reasons.append(f"{sum(len(names) for *_, names in parts[_NAMED:])} more for other reasons")
    if found.units and ratios:
        allowed = "--ratio 1 alone" if found.of_kind(LAYER) else "ratios below 1"
        reasons.append(f"layers can only be cut with {allowed}")
    how = [f"with ratio {', '.join(f'{ratio:g}' for ratio in ratios)}"] if ratios else []
    how += [f"by {', '.join(config.substitutes)} in place of a convolution"] if config.substitutes else []
    summary = f"nothing in this network can be cut {' or '.join(how)}"
    return f"{summary}: {'; '.join(reasons) or 'it has no convolution and no linear layer'}"


def judge(
    module: nn.Module,
    input_shape: tuple[int, ...],
    candidates: Iterable[Candidate],
    samples: Samples,
    config: SensitivityConfig,
    normalization: Normalization | None,
    progress: Progress = silent,
    fixed: tuple[Fixed, ...] = (),
    *,
    objective: Objective = CLASSIFIER,
    calibration: Samples | None = None,
) -> Sensitivity:
    """Return the rows of *candidates*, each a changed copy of *module*; the rest as for `sensitivity`."""
    costs = costs_of(module, input_shape, config.price)
    names: list[tuple[str, str, float]] = []
    saved: list[Costs] = []
    removed_channels: list[Removed] = []
    reordered: list[Mapping[str, Sequence[int]]] = []

    def variants() -> Iterator[nn.Module]:
        for candidate in candidates:
            names.append((candidate.unit, candidate.kind, candidate.ratio))
            saved.append(costs - costs_of(candidate.module, input_shape, config.price))
            removed_channels.append(candidate.removed_channels)
            reordered.append(candidate.reordered)
            yield candidate.module

    trial = Trial(
        module,
        variants(),
        samples,
        normalization,
        progress,
        objective=objective,
        first=config.first,
        seed=config.seed,
    )
    if calibration is not None:
        trial.recalibrate_batch_norm(calibration, removed_channels, reordered)
    gains = np.array([_gain(costs, config.per) for costs in saved], dtype=np.float64)
    agreement = decide(trial, gains, config.agreement)
    original = trial.of_original()
    return Sensitivity(
        rows=tuple(_row(*name, trial, index, saved[index]) for index, name in enumerate(names)),
        costs=costs,
        n=len(samples),
        score=score_of(objective.metric, trial.records_of_original()),
        loss=float(original[LOSS].mean()),
        per=config.per,
        agreement=agreement,
        fixed=fixed,
        notes=_notes(trial, names),
        recalibrated=calibration is not None,
    )


def costs_of(module: nn.Module, input_shape: tuple[int, ...], price: Price | None = None) -> Costs:
    """Return what *module* takes, counted on the network as it is, its latency as *price* predicts it."""
    size = size_of(module, input_shape)
    size_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    latency_ns = 0.0 if price is None else price(size.operators)
    return Costs(size.params, size.macs, size_bytes, size.activations, latency_ns)


def _row(unit: str, kind: str, ratio: float, trial: Trial, variant: int, saved: Costs) -> Row:
    mine = trial.outcomes(variant)
    original = trial.of_original(mine.shape[1])
    metric, records = trial.objective.metric, trial.records(variant)
    before = trial.records_of_original(mine.shape[1])
    return Row(
        unit,
        kind,
        ratio,
        mine.shape[1],
        score_of(metric, records),
        MeanInterval(*drop_between(metric, before, records)),
        float(mine[LOSS].mean()),
        _change(mine[ERROR] - original[ERROR]),
        saved,
    )


def _change(lost: Floats) -> MeanInterval:
    """Return the mean of *lost* [n] with its 95 % interval by the normal distribution."""
    half = Z * float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
    mean = float(lost.mean())
    return MeanInterval(mean, mean - half, mean + half)


def lost_to_json(score: Score, lost: MeanInterval) -> dict[str, Any]:
    """Return `accuracy_lost` and `score_lost`, of which one is null."""
    of_accuracy = score.name == ACCURACY
    return {"accuracy_lost": asdict(lost) if of_accuracy else None, "score_lost": None if of_accuracy else asdict(lost)}


def _gain(saved: Costs, per: str) -> float:
    gains = {"bytes": saved.size_bytes, "macs": saved.macs, "activations": saved.activations}
    return (gains | {"latency": saved.latency_ns})[per]


def _notes(trial: Trial, names: Sequence[tuple[str, str, float]]) -> tuple[str, ...]:
    """Say for which cuts the passes were whole, where not all of the layers were to be run again."""
    units = list(dict.fromkeys(names[index][0] for index in trial.without_cache))
    if not units:
        return ()
    return (f"whole passes for {', '.join(units)}: resuming from cached activations gave other outputs there",)
