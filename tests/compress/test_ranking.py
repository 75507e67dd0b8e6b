"""Ranking: how well an order is known, and whose place is open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.compress.ranking import agreement, cost_benefits, spearman, undecided

values = st.lists(st.integers(-50, 50), min_size=2, max_size=12).map(lambda found: np.array(found, dtype=np.float64))


@given(values)
def test_a_ranking_agrees_with_itself_and_not_with_its_reverse(found: np.ndarray) -> None:
    """Rank correlation is 1 with what has the same order, -1 with the reverse, whatever the values."""
    assert spearman(found, found**3) == pytest.approx(1)
    if len(np.unique(found)) > 1:
        assert spearman(found, -found) == pytest.approx(-1)


def test_ties_share_their_rank() -> None:
    """Two values alike are neither before nor behind each other."""
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.8660254)


def test_what_saves_nothing_comes_last_and_harmless_cuts_go_by_what_they_save() -> None:
    """No gain is priced infinite; loss increase below one sample's is no reason to wait with the greater saving."""
    found = cost_benefits(np.array([0.0, -0.5, 0.2, 0.2]), np.array([10.0, 5.0, 0.0, 100.0]), n=100)
    assert list(np.argsort(found)) == [0, 3, 1, 2] or list(np.argsort(found)) == [0, 1, 3, 2]
    assert found[2] == np.inf
    assert found[0] < found[1]


def test_neighbours_apart_are_decided_and_neighbours_alike_are_not() -> None:
    """Three cuts: two of the same loss increase are open, the third, far off, is not."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 400)) * 0.1
    losses = [0.1 + noise[0], 0.1 + noise[1], 0.9 + noise[2]]
    gains = np.ones(3)
    assert undecided(losses, gains, 1000) == [0, 1]
    assert undecided([losses[0], losses[2][:50]], gains[:2], 1000) == []


def test_agreement_grows_with_the_samples() -> None:
    """Cuts that noise mixes up on few samples are told apart on many; one cut alone is always ranked."""
    rng = np.random.default_rng(1)
    losses = [0.02 * cut + rng.normal(size=4000) * 0.3 for cut in range(1, 9)]
    few, many = (agreement([h[:n] for h in losses], np.ones(8), 4000) for n in (50, 4000))
    assert few < 0.9 < 0.97 < many <= 1
    assert agreement(losses[:1], np.ones(1), 4000) == 1
