"""Adaptive rounding: of each weight up or down so that a layer's output changes least, not the weight itself.

The mean squared error of a layer's output is a quadratic form of its weights' errors, (w - q) H (w - q)^T, whose matrix
H is the covariance of the inputs under a filter. Nagel et al. 2020 (AdaRound, https://arxiv.org/abs/2004.10568) relax
that problem and descend by gradients. Here it is minimized over the integers themselves: first the weights that are not
yet rounded take over the error of those that are (GPTQ, https://arxiv.org/abs/2210.17323), and then each weight is
tried again until none moves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SWEEPS = 20  # at most; most layers come to rest in 3 to 8


def rounded(target: Floats, scale: Floats, moments: Floats, damping: float, limit: int = 127) -> npt.NDArray[np.int8]:
    """Return integers q with scale * q near *target*, by the error of the output.

    Args:
        target: the real weights [G, O, J]: groups, filters of a group, inputs under a filter.
        scale: of each filter, [G, O].
        moments: the covariance of the inputs [G, J, J].
        damping: is added to the diagonal of *moments*, as a share of its mean: what the samples do not show.
        limit: the largest integer; the smallest is its negative.

    Returns:
        The integers, [G, O, J].
    """
    steps = target.shape[2]
    mean = np.trace(moments, axis1=1, axis2=2) / steps
    ridge = np.where(mean > 0, damping * mean, 1.0)
    form = moments + ridge[:, None, None] * np.eye(steps)
    units = target / scale[:, :, None]
    nearest = np.clip(np.rint(units), -limit, limit)
    candidates = [
        _descended(nearest, units, form, limit),
        _descended(_passed_on(units, form, limit), units, form, limit),
    ]
    errors = np.stack([_errors(units - q, form) for q in candidates])  # [2, G, O]
    best = np.where((errors[1] < errors[0])[:, :, None], candidates[1], candidates[0])
    return best.astype(np.int8)


def _errors(rest: Floats, form: Floats) -> Floats:
    """Return the quadratic form of each filter's *rest* [G, O, J], [G, O]."""
    errors: Floats = np.einsum("goj,goj->go", rest @ form, rest)
    return errors


def _passed_on(units: Floats, form: Floats, limit: int) -> Floats:
    """Round one input after the other, each time moving the others to where they make up for it best.

    Frantar et al. 2022 (GPTQ, https://arxiv.org/abs/2210.17323, equation 3): with U the upper Cholesky factor of the
    inverse of *form*, rounding input j by e moves a later input k by -e U[j, k] / U[j, j]. The inputs of the largest
    variance come first: they have the least to spare.
    """
    groups, _, steps = units.shape
    order = np.argsort(-np.diagonal(form, axis1=1, axis2=2), axis=1)  # [G, J]
    rows = np.arange(groups)[:, None]
    sorted_form = form[rows[:, :, None], order[:, :, None], order[:, None, :]]
    upper = np.linalg.cholesky(np.linalg.inv(sorted_form)).transpose(0, 2, 1)
    rest = np.take_along_axis(units, order[:, None, :], 2).copy()
    result = np.empty_like(rest)
    for j in range(steps):
        result[:, :, j] = np.clip(np.rint(rest[:, :, j]), -limit, limit)
        error = (rest[:, :, j] - result[:, :, j]) / upper[:, None, j, j]
        rest[:, :, j:] -= error[:, :, None] * upper[:, None, j, j:]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(result, back[:, None, :], 2)


def _descended(start: Floats, units: Floats, form: Floats, limit: int) -> Floats:
    """Return the integers after coordinate descent: each weight goes to its best integer, until none moves."""
    q = start.copy()
    slope = (units - q) @ form  # [G, O, J]: half the negative gradient
    diagonal = np.diagonal(form, axis1=1, axis2=2)
    for _ in range(_SWEEPS):
        moved = False
        for j in range(q.shape[2]):
            step = np.clip(np.rint(q[:, :, j] + slope[:, :, j] / diagonal[:, None, j]), -limit, limit) - q[:, :, j]
            if step.any():
                moved = True
                q[:, :, j] += step
                slope -= step[:, :, None] * form[:, None, j, :]
        if not moved:
            break
    return q
