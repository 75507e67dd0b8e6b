"""Rankings: area under the ROC curve and average precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.roc import Ranking, ranking


def test_figures_are_those_of_scikit_learn() -> None:
    """Both figures equal scikit-learn's, equal scores among them."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # 2 s: not for those who only collect the tests

    @given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=1, max_size=40))
    def check(rows: list[tuple[int, int]]) -> None:
        scores, labels = np.array([*rows, (0, 0), (1, 1)], np.float32).T
        result = ranking(scores, labels.astype(np.int64))
        assert result.auc == pytest.approx(roc_auc_score(labels, scores))
        assert result.average_precision == pytest.approx(average_precision_score(labels, scores))

    check()


def test_the_ends_of_the_scale() -> None:
    """Scores that tell the classes apart give 1; scores that say nothing give one half, and the share of positives."""
    labels = np.array([0, 0, 0, 1])
    assert ranking(np.array([1.0, 2.0, 3.0, 4.0]), labels) == Ranking(1.0, 1.0, 1, 4)
    assert ranking(np.zeros(4), labels) == Ranking(0.5, 0.25, 1, 4)


def test_what_cannot_be_judged_is_told() -> None:
    """One class alone, other labels, and scores that are no numbers end in one line."""
    for labels in ([0, 0], [0, 2]):
        with pytest.raises(EdgecnnError, match="two classes"):
            ranking(np.zeros(2), np.array(labels))
    with pytest.raises(EdgecnnError, match="finite"):
        ranking(np.array([0.0, np.nan]), np.array([0, 1]))
