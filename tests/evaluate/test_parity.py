"""Damage to one output or channel shows, however small it is beside the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgecnn.evaluate.parity import Parity, parity_of
from edgecnn.evaluate.verify import broken_limit
from edgecnn.recipe import Limits
from edgecnn.tasks.classification import answers_of

Array = npt.NDArray[np.float64]
RANDOM = np.random.default_rng(0)


def parity(reference: Array, candidate: npt.NDArray[np.generic], *, centred: bool = True, batch: int = 16) -> Parity:
    """Return the parity of one output [n, ...], given in batches."""
    cuts = range(0, len(reference), batch)
    return parity_of((([reference[i : i + batch]], [candidate[i : i + batch]]) for i in cuts), centred=centred)


def quantized(x: Array, bits: int = 8) -> Array:
    """Return *x* rounded to one scale for all of it."""
    step = (x.max() - x.min()) / (2**bits - 1)
    return np.round(x / step) * step  # type: ignore[no-any-return]


def detector(n: int = 40, boxes: int = 100) -> Array:
    """Return a head [n, 7, boxes]: four coordinates in pixels, and three scores of which most are near 0."""
    pixels = RANDOM.uniform(0, 640, (n, 4, boxes))
    scores = RANDOM.uniform(0, 0.02, (n, 3, boxes)) + 0.9 * (RANDOM.uniform(size=(n, 3, boxes)) > 0.98)
    return np.concatenate([pixels, scores], 1)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("channels_last", [False, True])
def test_scores_that_are_lost_beside_boxes_are_seen(centred: bool, channels_last: bool) -> None:
    """All together look perfect; the channel of a score is what counts, and the limit's message names it."""
    x = detector()
    x = x.transpose(0, 2, 1) if channels_last else x
    found = parity(x, quantized(x), centred=centred)
    assert found.sqnr_db is not None
    assert found.sqnr_db > 45
    assert found.worst is not None
    assert (found.worst.output, found.worst.axis) == (0, 2 if channels_last else 1)
    assert found.worst.channel in (4, 5, 6)
    assert (found.worst.sqnr_db or 0) < 1
    told = broken_limit(Limits(min_sqnr_db=8.0), found, None, None)
    assert told is not None
    assert f"dB in channel {found.worst.channel}" in told


def test_scores_with_a_scale_of_their_own_are_healthy() -> None:
    """The same detector with boxes and scores apart passes, one class that never occurs among them."""
    x = detector()[:, 4:]
    x[:, 0] = RANDOM.uniform(0, 1e-4, x[:, 0].shape)
    found = parity(x, quantized(x))
    assert found.worst is not None
    assert (found.worst.sqnr_db or 0) > 20
    assert broken_limit(Limits(min_sqnr_db=8.0), found, None, None) is None


def test_a_constant_part_carries_nothing() -> None:
    """A value that is 300 and a little is lost in steps of 1, though error and value look good together."""
    x = 300 + RANDOM.normal(0, 0.1, (64, 1))
    found = parity(x, np.round(x))
    assert found.sqnr_db is not None
    assert found.sqnr_db > 60
    assert found.worst is not None
    assert (found.worst.sqnr_db or 0) < 1


def test_the_sqnr_is_that_of_the_formula() -> None:
    """10 log10(variance / mean squared error) of each channel, over all batches, whatever their sizes."""
    x = RANDOM.normal(1.0, [0.5, 2.0, 1.0], (50, 3))
    error = RANDOM.normal(0, [0.1, 0.1, 0.3], (50, 3))
    found = parity(x, x + error, batch=7)
    expected = 10 * np.log10(x.var(axis=0) / np.square(error).mean(axis=0))
    channels = {part.channel: part.sqnr_db for part in found.parts if part.channel is not None}
    assert channels == pytest.approx(dict(enumerate(expected)))
    whole = next(part for part in found.parts if part.channel is None)
    assert whole.sqnr_db == pytest.approx(10 * np.log10(x.var(axis=0).sum() / np.square(error).mean(axis=0).sum()))


def test_a_healthy_softmax_of_many_classes_passes() -> None:
    """Of 1000 classes, each right in one sample or none, no single one counts: the output is judged as a whole."""
    x = np.full((300, 1000), 1e-6)
    x[np.arange(300), RANDOM.integers(0, 1000, 300)] = 1 - 999e-6
    other = x.copy()
    other[0] = np.roll(other[0], 1)  # one sample falls to another class
    found = parity_of([([x], [quantized(other)])], answers=answers_of)
    assert found.worst is not None
    assert found.worst.channel is None
    assert (found.worst.sqnr_db or 0) > 20
    assert found.top1_agreement == 299 / 300


def test_class_numbers_are_judged_by_agreement() -> None:
    """An output of integers has no noise, it has classes that are the same or not, and a limit of its own."""
    x = RANDOM.integers(0, 5, (32, 8, 8)).astype(np.float64)
    other = x.astype(np.int64)
    other[:8] = (other[:8] + 1) % 5
    found = parity(x, other)
    assert found.worst is None
    assert found.least_agreeing is not None
    assert found.least_agreeing.agreement == 0.75
    assert broken_limit(Limits(min_agreement=0.7, min_sqnr_db=60), found, None, None) is None
    told = broken_limit(Limits(min_agreement=0.8), found, None, None)
    assert told == "75.00 % of the class numbers in output 0 are those of the network, the recipe asks for 80.00"


def test_a_channel_that_is_constant_is_told_where_it_moves() -> None:
    """It has no signal to lose: it breaks no limit, and a move by a step of int8 is told."""
    x = RANDOM.normal(0, 1, (64, 3))
    x[:, 1] = 2.0
    other = x + RANDOM.normal(0, 0.01, x.shape)
    other[:, 1] = 2.005
    assert parity(x, other).moved == ()
    other[:, 1] = 2.5
    found = parity(x, other)
    assert [part.channel for part in found.moved] == [1]
    assert all(part.channel != 1 for part in found.parts)


@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (5,), (12,), (6, 1, 1, 1), (2, 3, 4, 4)])
def test_few_values_are_judged_without_surprise(shape: tuple[int, ...]) -> None:
    """One sample, or outputs without an axis of channels, give a finite figure for the output as a whole."""
    x = RANDOM.normal(5, 1, shape)
    found = parity(x, x + 0.01)
    assert found.worst is not None
    assert np.isfinite(found.worst.sqnr_db)
    assert parity(x, x).worst is None


def test_large_outputs_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a batch give the figures that the batch gives: none depends on how much is held at a time."""
    x = RANDOM.normal(2, 1, (9, 3, 5, 5))
    other = x + RANDOM.normal(0, 0.1, x.shape)
    whole = parity(x, other)
    monkeypatch.setattr("edgecnn.evaluate.parity._AT_ONCE", 100)
    pieces = parity(x, other)
    assert pieces.max_abs_diff == whole.max_abs_diff
    assert [part.sqnr_db for part in pieces.parts] == pytest.approx([part.sqnr_db for part in whole.parts])
    assert len(whole.parts) == 4
