"""`Score`: a figure with its interval, and the JSON that it is kept as."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from edgecnn.errors import EdgecnnError
from edgecnn.parsing import convert, from_table
from edgecnn.short_repr import short_repr
from edgecnn.units import format_score

#: The score of classification, whose JSON has keys of its own.
ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Score:
    """A figure of how good answers are, with its 95 % interval.

    Example:
        >>> edgecnn.Score(name="mIoU", value=0.71, low=0.68, high=0.74, n=500).points
        71.0
    """

    __repr__ = short_repr

    name: str
    value: float
    low: float  # NaN where the interval is not known
    high: float
    n: int  # samples
    higher_is_better: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)  # further figures by name, values of JSON

    @property
    def points(self) -> float:
        """The value in points: hundredths, in which drops are counted."""
        return 100 * self.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.low, self.high

    @property
    def is_chance(self) -> bool:
        """Whether guessing gives as much, within the interval."""
        chance = self.details.get("chance")
        return chance is not None and self.low <= chance

    @property
    def text(self) -> str:
        """The value as tables show it: a share as percent, an error as it is."""
        return format_score(self.value, is_share=self.higher_is_better)

    @property
    def interval_text(self) -> str:
        """The interval as tables show it, without the unit: `91.2…93.4`; `-` where it is not known."""
        if math.isnan(self.low) or math.isnan(self.high):
            return "-"
        factor, digits = (100, ".1f") if self.higher_is_better else (1, ".4g")
        return f"{factor * self.low:{digits}}…{factor * self.high:{digits}}"

    def drop_from(self, reference: float) -> float:
        """Return by how much this score is worse than the value *reference*.

        A difference where higher is better; of an error, such as an RMSE, the increase as a share of *reference*.

        Example:
            >>> edgecnn.Score(name="RMSE", value=1.5, low=1.4, high=1.6, n=9, higher_is_better=False).drop_from(1.2)
            0.25
        """
        return drop(reference, self.value, higher_is_better=self.higher_is_better)

    def to_json(self) -> dict[str, Any]:
        """Return `{name, value, low, high, n, higher_is_better, details}`; an interval that is not known is null."""
        ends = {end: None if math.isnan(getattr(self, end)) else getattr(self, end) for end in ("low", "high")}
        return asdict(self) | ends | {"details": dict(self.details)}

    @classmethod
    def from_json(cls, stored: Any, where: str = "score") -> Score:
        """Read what `to_json` wrote; *where* names it in errors.

        Raises:
            EdgecnnError: a key is missing or wrong.
        """
        table = convert(Mapping[str, Any], stored, where)
        ends = {end: math.nan for end in ("low", "high") if end in table and table[end] is None}
        return from_table(cls, {**table, **ends}, where, strict=False)


def title_of(scores: Iterable[Score | None]) -> str:
    """Return what a column of *scores* is called: the name that all have, `top-1` for accuracy, else `score`."""
    names = {score.name for score in scores if score is not None} or {ACCURACY}
    if len(names) > 1:
        return "score"
    name = names.pop()
    return "top-1" if name == ACCURACY else name


def drop(before: float, after: float, *, higher_is_better: bool) -> float:
    """Return by how much *after* is worse than *before*: a difference, or of an error the increase as a share."""
    if higher_is_better:
        return before - after
    return (after - before) / abs(before) if before else after


class _Accuracy(TypedDict, total=False):
    """The keys of an accuracy in JSON."""

    top1: float
    n: int
    low: float | None
    high: float | None
    auc: float | None
    classes: int | None
    class_offset: int


def accuracy_to_json(score: Score, auc: float | None = None) -> dict[str, Any]:
    """Return `{top1, n, low, high}`, fractions, and `auc`, `classes` and `class_offset` where there are such."""
    auc = score.details.get("auc", auc)
    classes, offset = score.details.get("classes"), score.details.get("class_offset")
    return {
        "top1": score.value,
        "n": score.n,
        "low": score.low,
        "high": score.high,
        **({} if auc is None else {"auc": auc}),
        **({} if classes is None else {"classes": classes}),
        **({"class_offset": offset} if offset else {}),
    }


def accuracy_from_json(stored: Any, where: str = ACCURACY) -> Score:
    """Read what `accuracy_to_json` wrote.

    Raises:
        EdgecnnError: a key is missing or wrong.
    """
    table = convert(_Accuracy, convert(Mapping[str, Any], stored, where), where)
    top1, n = convert(float, table.get("top1"), f"{where}.top1"), convert(int, table.get("n"), f"{where}.n")
    if not 0 <= top1 <= 1 or n < 1:
        raise EdgecnnError(f"{where}: an accuracy is a fraction of at least 1 sample, not {top1:g} of {n}")
    details = {key: table[key] for key in ("auc", "classes", "class_offset") if table.get(key) is not None}
    low, high = interval_of_share(round(top1 * n), n)
    return Score(name=ACCURACY, value=top1, low=low, high=high, n=n, details=details | _chance(details.get("classes")))


def _chance(classes: int | None) -> dict[str, float]:
    return {"chance": 1 / classes} if classes is not None and classes > 1 else {}


def share(name: str, right: int, n: int, *, classes: int | None = None, **details: Any) -> Score:
    """Return the score of *right* among *n* answers: a fraction with its Wilson interval.

    Args:
        name: of the score.
        right: how many are.
        n: how many there are, at least one.
        classes: among which one guesses; None: not known.
        details: further figures.

    Raises:
        EdgecnnError: more right answers than answers, or no answer.

    Example:
        >>> round(share("accuracy", 93, 100).low, 3)
        0.863
    """
    if not 0 <= right <= n or n < 1:
        raise EdgecnnError(f"an accuracy counts 0 to n of at least 1 sample, not {right} of {n}")
    low, high = interval_of_share(right, n)
    known = {} if classes is None else {"classes": classes}
    return Score(name=name, value=right / n, low=low, high=high, n=n, details={**known, **_chance(classes), **details})


def interval_of_share(right: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of *right* among *n* (Wilson 1927, eq. for z = 1.96)."""
    z, value = 1.959964, right / n
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def score_to_json(score: Score | None) -> dict[str, Any]:
    """Return `accuracy` and `score`, one of them null: the accuracy of classification has keys of its own."""
    is_accuracy = score is not None and score.name == ACCURACY
    return {
        "accuracy": accuracy_to_json(score) if score is not None and is_accuracy else None,
        "score": score.to_json() if score is not None and not is_accuracy else None,
    }


def score_from_json(table: Mapping[str, Any], where: str) -> Score | None:
    """Read what `score_to_json` wrote; a missing key counts as null.

    Raises:
        EdgecnnError: a key is missing or wrong.
    """
    scores = scores_from_json({key: table.get(key) for key in ("accuracy", "score")}, where)
    return scores[0] if scores else None


def scores_to_json(scores: Sequence[Score]) -> dict[str, Any]:
    """Return `accuracy`, `score` and `scores`, of which the first two are null where there is no such score.

    `accuracy` is that of classification, with its own keys; `score` is the first score of any other task, and `scores`
    are all others.
    """
    accuracy = next((one for one in scores if one.name == ACCURACY), None)
    auc = next((one.value for one in scores if one.name == "AUC"), None)
    first = scores[0] if scores and scores[0] is not accuracy else None
    return {
        "accuracy": None if accuracy is None else accuracy_to_json(accuracy, auc),
        "score": None if first is None else first.to_json(),
        "scores": [one.to_json() for one in scores if one is not accuracy and one is not first],
    }


def scores_from_json(table: Mapping[str, Any], where: str) -> tuple[Score, ...]:
    """Read what `scores_to_json` wrote, or a result of an earlier version, which had an `accuracy` alone.

    Raises:
        EdgecnnError: a key is missing or wrong.
    """
    accuracy, first = table.get("accuracy"), table.get("score")
    others = convert(list[Mapping[str, Any]], table.get("scores") or [], f"{where}.scores")
    if accuracy is not None and any(other.get("name") == "AUC" for other in others):
        known = convert(Mapping[str, Any], accuracy, f"{where}.accuracy")
        accuracy = {key: value for key, value in known.items() if key != "auc"}  # it has a score of its own
    return (
        *(() if first is None else (Score.from_json(first, f"{where}.score"),)),
        *(() if accuracy is None else (accuracy_from_json(accuracy, f"{where}.accuracy"),)),
        *(Score.from_json(other, f"{where}.scores[{number}]") for number, other in enumerate(others)),
    )
