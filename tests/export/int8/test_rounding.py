"""Adaptive rounding finds integers whose outputs are nearer than those of the nearest integers."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from edgecnn.export.int8.rounding import rounded


def covariance(inputs: int, seed: int, rank: int = 3) -> npt.NDArray[np.float64]:
    """Return a covariance of inputs that go together, as those of neighbouring pixels do: [1, inputs, inputs]."""
    mixing = np.random.default_rng(seed).standard_normal((inputs, rank))
    matrix: npt.NDArray[np.float64] = (mixing @ mixing.T + 0.1 * np.eye(inputs))[None]
    return matrix


def error(target: npt.NDArray[np.float64], q: npt.NDArray[np.integer], form: npt.NDArray[np.float64]) -> float:
    """Return the mean squared error of the output of the first filter, scale 1."""
    rest = target[0, 0] - q
    return float(rest @ form[0] @ rest)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_close_to_the_best_of_all_roundings(seed: int) -> None:
    """Of 8 weights: never worse than to the nearest, and within 1.5 times the best of all 256 ways up and down."""
    form = covariance(8, seed)
    target = 5 * np.random.default_rng(100 + seed).standard_normal((1, 1, 8))
    floor = np.floor(target[0, 0])
    best = min(error(target, floor + np.array(up), form) for up in product((0, 1), repeat=8))
    found = error(target, rounded(target, np.ones((1, 1)), form, damping=0.0)[0, 0], form)
    assert found <= error(target, np.rint(target[0, 0]), form) + 1e-12
    assert found <= 1.5 * best + 1e-12


def test_independent_inputs_are_rounded_to_the_nearest() -> None:
    """Where the inputs have nothing to do with each other, the nearest integer is the best one."""
    target = np.random.default_rng(0).uniform(-60, 60, (3, 4, 9))
    scale = np.random.default_rng(1).uniform(0.5, 2, (3, 4))
    form = np.stack([np.diag(np.arange(1.0, 10.0))] * 3)
    assert np.array_equal(rounded(target, scale, form, damping=0.01), np.rint(target / scale[:, :, None]))


def test_integers_stay_within_the_limit() -> None:
    """A weight that its scale cannot hold goes to the limit, and the others make up for it."""
    target = np.array([[[200.0, 10.0]]])
    form = np.array([[[1.0, 0.99], [0.99, 1.0]]])
    assert rounded(target, np.ones((1, 1)), form, damping=0.0).tolist() == [[[127, 82]]]


def test_filters_whose_input_is_always_the_same_are_rounded_to_the_nearest() -> None:
    """A dead input has a covariance of 0."""
    target = np.array([[[0.6, -3.4]]])
    assert rounded(target, np.ones((1, 1)), np.zeros((1, 2, 2)), damping=0.01).tolist() == [[[1, -3]]]
