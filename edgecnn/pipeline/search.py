"""The budgeted loop: cut what costs least, tune, judge; until the goals are met or the accuracy is spent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgecnn.compress import layer_of
from edgecnn.compress.prune import count_to_go, cut
from edgecnn.compress.schedule import ordered
from edgecnn.compress.sensitivity import Costs, Row, SensitivityConfig, costs_of, nowhere, sensitivity
from edgecnn.compress.settings import Search
from edgecnn.compress.unit import FILTERS, LAYER, SUBSTITUTION, Unit, Units
from edgecnn.errors import EdgecnnError
from edgecnn.pipeline.budget import Budget, NetworkStatus, Shortfall, drop_of
from edgecnn.pipeline.plan import Plan, Round
from edgecnn.pipeline.steps import State, Steps
from edgecnn.progress import with_prefix
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import title_of

_TRIES = 3  # of a round: as it is, with half its share, with a quarter
_SHORT_TUNING = 3.0  # times the drop that is allowed at the end, as training at the end recovers a part


@dataclass(frozen=True)
class Attempt:
    """One try of a round: what was cut, and what came of it."""

    __repr__ = short_repr

    number: int  # of its round, from 1
    cuts: Mapping[str, float]
    status: NetworkStatus
    kept: bool  # False: it lost too much
    sparsity: float = 0.0  # share of the weights that were set to 0


@dataclass(frozen=True)
class SearchResult:
    """The best network of a compression, and the way there."""

    __repr__ = short_repr

    state: State
    rounds: tuple[Round, ...]  # that it comes of
    attempts: tuple[Attempt, ...] = ()  # all that was tried
    epochs: float = 0  # of training at the end
    stopped: str = ""  # why the rounds ended


def apply_plan(steps: Steps, plan: Plan) -> SearchResult:
    """Return what comes of the rounds of *plan*, and of the training at its end.

    Raises:
        EdgecnnError: cuts that cannot be made, or a loss that is no number.
    """
    state = steps.start()
    attempts, done = [], []
    for number, one in enumerate(plan.rounds, start=1):
        after = steps.cut_and_tune(
            _name(number, 1),
            state,
            partial(steps.agreed, state, one.cuts),
            one.epochs,
            number,
            sparsity=one.sparsity,
            keep_zeros=plan.is_sparse(number),
        )
        state = after or state
        done.append(replace(one, cuts=steps.cuts_of(_name(number, 1))))
        attempts.append(Attempt(number, done[-1].cuts, state.status, kept=True, sparsity=one.sparsity))
    if plan.epochs:
        sparse = plan.is_sparse(len(plan.rounds))
        state = steps.finish(f"final-{len(plan.rounds):02}", state, plan.epochs, keep_zeros=sparse)
    return SearchResult(state, tuple(one for one in done if one.cuts or one.sparsity), tuple(attempts), plan.epochs)


def search(steps: Steps, epochs: float, reference: float) -> SearchResult:
    """Return the best network within the budget, or the nearest to it.

    Args:
        steps: does the work, within its budget.
        epochs: of the training at the end.
        reference: the score that a drop is counted from, as a fraction.

    Raises:
        EdgecnnError: a network that cannot be traced or judged, or a loss that is no number.
    """
    budget = steps.budget
    config, between = budget.search, budget.search.epochs_between or 0
    original = state = steps.start()
    completed_steps: list[str] = []  # the step of each round
    rounds: list[Round] = []
    attempts: list[Attempt] = []
    stopped = "the goals are met"
    stalled = 0  # rounds in a row that brought the goal no nearer
    shortfall = _widest(budget, original.status, state.status)
    while shortfall is not None:
        share = min(config.share, shortfall.share * 2**stalled)
        tried, after = _round(steps, shortfall, share, state, len(rounds) + 1, reference)
        attempts += tried
        if after is None:
            stopped = "more would lose too much accuracy" if tried else "nothing more can be cut"
            break
        state = after
        completed_steps.append(_name(len(rounds) + 1, len(tried)))
        rounds.append(Round(tried[-1].cuts, between))
        was, shortfall = shortfall, _widest(budget, original.status, state.status)
        steps.progress(summary_of(len(rounds), budget, original.status, state.status))
        # A peak of RAM, for example, is in one layer: what is cut elsewhere does not move it.
        stalled = stalled + 1 if shortfall is not None and was.share - shortfall.share < share / 4 else 0
    for number in range(len(rounds), 0, -1):
        final, trained = steps.load(completed_steps[number - 1]), epochs
        if epochs:
            tuned = steps.finish(f"final-{number:02}", final, epochs)
            if _is_worse(tuned.status, final.status):
                stopped, trained = f"{stopped}; the final fine-tuning lowered the accuracy and was reverted", 0
            else:
                final = tuned
        if budget.allows(drop_of(reference, final.status)):
            return SearchResult(final, tuple(rounds[:number]), tuple(attempts), trained, stopped)
        stopped = f"after the final fine-tuning round {number} still lost too much accuracy and was reverted"
    return SearchResult(original, (), tuple(attempts), 0, stopped)


def summary_of(number: int, budget: Budget, original: NetworkStatus, now: NetworkStatus) -> str:
    """Return what a round came to, in a line: the score, and the goals of size not met yet, or what is left."""
    score = "" if now.score is None else f" {now.score.text} {title_of([now.score])};"
    gaps = [gap.sentence for gap in budget.shortfalls(original, now)]
    if budget.is_open:
        gaps = [f"{100 * now.params / original.params:.1f} % of the parameters are left"]
    return f"after round {number}:{score} {'; '.join(gaps) or 'the goals of size are met'}"


def _is_worse(after: NetworkStatus, before: NetworkStatus) -> bool:
    """Return whether the score is lower; where none are kept to judge by, training counts as a gain."""
    if after.score is None or before.score is None:
        return False
    return after.score.drop_from(before.score.value) > 0


def _widest(budget: Budget, original: NetworkStatus, now: NetworkStatus) -> Shortfall | None:
    """Return the goal with the largest remaining gap; None if all goals are met."""
    if budget.is_open:
        return Shortfall("", "bytes", 1.0)
    return max(budget.shortfalls(original, now), key=lambda shortfall: shortfall.share, default=None)


def _round(
    steps: Steps, shortfall: Shortfall, whole: float, before: State, number: int, reference: float
) -> tuple[list[Attempt], State | None]:
    """Attempt a round that cuts the share *whole*, and less each time that it loses too much.

    Returns the attempts, and the state after the one that did not lose too much, None if all did. There are no
    attempts where there is nothing to cut.
    """
    attempts: list[Attempt] = []
    ranking: list[tuple[Units, Sequence[Row]]] = []
    for count in range(_TRIES):
        share = whole / 2**count

        def choose(share: float = share, count: int = count) -> dict[str, float]:
            if not ranking:
                ranking.append(_ranked(steps, steps.budget.search, shortfall.per, before, number))
            # To take a layer that saves more than its share is worth a try; one that saves more than the goal is not.
            most = share if count else max(share, shortfall.share)
            units, rows = ranking[0]
            cuts = choose_cuts(steps, before, units, rows, shortfall.per, share, most)
            while (agreed := steps.agreed(before, cuts)) != cuts:
                rows = [row for row in rows if row.kind != FILTERS or row.unit in agreed or row.unit not in cuts]
                cuts = choose_cuts(steps, before, units, rows, shortfall.per, share, most)
            ranking[0] = units, rows
            return {} if any(cuts == earlier.cuts for earlier in attempts) else cuts

        name = _name(number, count + 1)
        after = steps.cut_and_tune(name, before, choose, steps.budget.search.epochs_between or 0, number)
        if after is None:
            break
        kept = steps.budget.allows(drop_of(reference, after.status), _SHORT_TUNING)
        attempts.append(Attempt(number, steps.cuts_of(name), after.status, kept))
        if kept:
            return attempts, after
    return attempts, None


def _ranked(steps: Steps, config: Search, per: str, before: State, number: int) -> tuple[Units, Sequence[Row]]:
    """Return what can be cut now, and the cuts, the next one first."""
    network, shape, units = before.graded, steps.subject.shape, before.units
    if number == 1 and config.substitutes and not units.of_kind(SUBSTITUTION):
        raise EdgecnnError(nowhere(units, config.substitutes))
    ratios = (*(config.ratios if config.filters else ()), *((1.0,) if config.layers else ()))
    tried = {FILTERS: config.filters, LAYER: config.layers, SUBSTITUTION: True}
    if not any(tried[unit.kind] for unit in units.units):
        return units, ()
    assert steps.parts.validation is not None
    method = steps.method
    judged = SensitivityConfig(
        ratios=ratios,
        criterion=method.criterion,
        round_to=method.round_to,
        per=per,
        agreement=config.agreement,
        first=config.samples,
        seed=method.seed,
        price=steps.price,
        substitutes=tuple(config.substitutes),
    )
    normalization, progress = steps.subject.normalization, with_prefix(steps.progress, _name(number, 1))
    found = sensitivity(
        network.module,
        shape,
        steps.parts.validation,
        judged,
        normalization,
        progress,
        objective=steps.objective,
        calibration=steps.parts.training,
        units=units,
    )
    steps.note_wrong({one.name: one.reason for one in found.fixed if one not in units.fixed})
    return units, ordered(found, config.order, seed=method.seed + number)


def choose_cuts(
    steps: Steps,
    before: State,
    units: Units,
    rows: Sequence[Row],
    per: str,
    share: float,
    most: float,
) -> dict[str, float]:
    """Return the first of *rows* that together save a *share* of what the network has of *per*, one of `GAINS`.

    A row takes the place of an earlier one of its layer where it saves more. The last one takes no more filters than
    are needed. Layers, and blocks in their place, that save more than the share *most* by themselves stay.
    """
    network, shape, method = before.graded, steps.subject.shape, steps.method
    whole = costs_of(network.module, shape, steps.price)
    wanted = share * _amount(whole, per)
    cuts: dict[str, float] = {}
    chosen: dict[str, Unit] = {}
    gained: dict[str, float] = {}  # by what is chosen of each layer
    saved = 0.0
    for row in rows:
        unit = units.find(row.unit, row.kind)
        gain, before_it = _amount(row.saved, per), gained.get(row.layer, 0.0)
        others = [other for name, other in chosen.items() if name != row.layer]
        if gain <= before_it or any(_clash(unit, other) for other in others):
            continue
        if row.kind != FILTERS and gain > most * _amount(whole, per):
            continue
        ratio = row.ratio
        if row.kind == FILTERS:
            ratio = trimmed(unit, ratio, (wanted - saved + before_it) / gain, method.round_to)
        gain *= ratio / row.ratio
        if gain <= before_it:
            continue
        trial = {name: share for name, share in cuts.items() if layer_of(name) != row.layer} | {row.unit: ratio}
        estimate = saved - before_it + gain
        if estimate >= wanted or any(other.kind == LAYER for other in (*others, unit)):
            try:
                made = cut(
                    network.module,
                    shape,
                    trial,
                    criterion=method.criterion,
                    round_to=method.round_to,
                    units=units,
                    verify=False,
                )
            except EdgecnnError:
                continue  # it does not go together with what was chosen; by itself it may, in a later round
            estimate = _amount(whole, per) - _amount(costs_of(made.module, shape, steps.price), per)
        cuts, saved = trial, estimate
        chosen[row.layer], gained[row.layer] = unit, gain
        if saved >= wanted:
            break
    return cuts


def _amount(costs: Costs, per: str) -> float:
    """Return what there is of *per*, one of `GAINS`, in *costs*; bytes go with the parameters."""
    amounts = {"bytes": costs.params, "macs": costs.macs, "activations": costs.activations}
    return (amounts | {"latency": costs.latency_ns})[per]


def trimmed(unit: Unit, ratio: float, needed: float, round_to: int = 1) -> float:
    """Return the part of *ratio* that saves only the share *needed* of what it saves: one filter or more of *unit*.

    What is left is a multiple of *round_to* where it was with *ratio*.
    """
    most = count_to_go(unit, ratio, round_to)
    count = max(1, math.ceil(most * min(1.0, needed)))
    each = unit.channels // unit.atoms
    while count < most and (unit.channels - count * each) % round_to:
        count += 1
    return min(count, most) / unit.atoms


def _clash(a: Unit, b: Unit) -> bool:
    """Return whether two units cannot be cut at once.

    A layer that goes whole or gives way to a block does not go with what has a part in it, nor do two blocks that
    reorder the same channels.
    """
    if a.kind == b.kind == FILTERS:
        return a.name == b.name
    if a.kind == b.kind == SUBSTITUTION and a.slices and a.slices == b.slices:
        return True
    return any(
        one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
        for one in a.members
        for other in b.members
    )


def _name(number: int, count: int) -> str:
    return f"round-{number:02}" + (f".{count}" if count > 1 else "")
