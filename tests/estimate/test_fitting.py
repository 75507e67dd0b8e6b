"""Coefficients: fitted, held out, written and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.device import LATENCY_KINDS, LatencyModel, OperatorCost, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate.coefficients import merge_models, to_toml, without_latency, write_coefficients
from edgecnn.estimate.fitting import (
    Spread,
    amounts_of,
    as_array,
    as_costs,
    band_of,
    fit_costs,
    held_out_ratios,
    prior_of,
)
from edgecnn.estimate.work import Work
from edgecnn.shipped import shipped

PRIOR = prior_of("litert", "fp32")


def networks(count: int) -> np.ndarray:
    """Return what *count* random networks amount to, [count, PRIOR.size]."""
    rng = np.random.default_rng(7)
    return np.array(
        [
            amounts_of(
                [
                    Work(kind, int(rng.integers(1, 10**8)), 64, 64, int(rng.integers(1, 10**6)), 10**4)
                    for kind in LATENCY_KINDS
                    for _ in range(int(rng.integers(1, 9)))
                ],
                "fp32",
            )
            for _ in range(count)
        ]
    )


def test_costs_are_found_again() -> None:
    """From networks whose latency follows the model, the fit predicts others it never saw within 2 %."""
    true = PRIOR * 0.07 * np.random.default_rng(3).uniform(0.5, 2, PRIOR.size)
    seen, others = networks(60)[:40], networks(60)[40:]
    costs = fit_costs(seen, seen @ true, PRIOR, Spread(term=1.5, cost=1, latency=0.01))
    assert others @ costs == pytest.approx(others @ true, rel=0.02)
    assert np.all(costs > 0)


def test_one_figure_sets_the_speed() -> None:
    """A single latency scales the prior, so that it is met, and nothing can be held out."""
    amounts, latency_ns = networks(1), np.array([5e7])
    costs = fit_costs(amounts, latency_ns, PRIOR)
    assert amounts @ costs == pytest.approx(latency_ns, rel=0.01)
    assert len(held_out_ratios(amounts, latency_ns, PRIOR)) == 0


@pytest.mark.parametrize("latencies_ns", [[], [0.0], [-1.0], [float("nan")]])
def test_latencies_that_are_none_are_refused(latencies_ns: list[float]) -> None:
    """No figure, or one that is no latency, is an error and no coefficient."""
    with pytest.raises(EdgecnnError, match="latencies above zero"):
        fit_costs(networks(len(latencies_ns)).reshape(-1, PRIOR.size), np.array(latencies_ns), PRIOR)


def test_the_band_holds_its_share() -> None:
    """The band reaches as far as ceil((n + 1) * coverage) of n held-out ratios, and around 1 on both sides."""
    ratios = np.exp(np.linspace(0.01, 0.2, 20) * np.tile([1, -1], 10))
    low, high = band_of(ratios, 0.9)
    assert high == pytest.approx(float(np.exp(0.19)))
    assert low * high == pytest.approx(1)
    assert np.mean((ratios >= low * 0.999) & (ratios <= high * 1.001)) >= 0.9


def test_coefficients_round_trip_through_a_device_file(tmp_path: Path) -> None:
    """What calibration writes is what the profile reads; the rest of the file, comments too, is as it was."""
    source, path = shipped("devices") / "rpi4.toml", tmp_path / "mine.toml"
    costs = as_costs(fit_costs(networks(30), networks(30) @ PRIOR, PRIOR))
    model = LatencyModel(
        runtime="litert",
        precision="fp32",
        threads=2,
        costs=costs,
        low=0.8,
        high=1.25,
        coverage=0.9,
        networks=30,
        source='on "my" board, at 25 °C',
        input_block=4,
        output_block=16,
    )
    write_coefficients(source, path, [model])
    assert load_device(str(path)).latency == (model,)
    assert without_latency(path.read_text(encoding="utf-8")) == without_latency(source.read_text(encoding="utf-8"))
    other = replace(load_device(str(path)), name="rpi4", latency=())
    assert other == replace(load_device("rpi4"), latency=())
    write_coefficients(path, path, [])
    assert load_device(str(path)).latency == ()
    assert as_array(model.costs).shape == PRIOR.shape


def test_a_kind_without_a_cost_costs_as_its_coarser_one() -> None:
    """Where published figures tell convolutions alone, grouped ones cost as they do, and what is not told nothing."""
    rows = as_array({"conv": OperatorCost(1.0, 2.0, 3.0)}).reshape(len(LATENCY_KINDS), 3)
    by_kind = dict(zip(LATENCY_KINDS, rows.tolist(), strict=True))
    assert by_kind["grouped"] == by_kind["conv"] == [1.0, 2.0, 3.0]
    assert by_kind["hard_swish"] == [0.0, 0.0, 0.0]


def test_families_are_held_out_together() -> None:
    """Networks of a family are predicted from the others alone, and what has no family only helps to predict."""
    amounts = networks(9)
    truth = amounts @ PRIOR
    families = ["a", "a", "a", "b", "b", "b", None, None, None]
    slower = truth * np.array([2, 2, 2, 1, 1, 1, 1, 1, 1])
    ratios = held_out_ratios(amounts, slower, PRIOR, None, families)
    assert len(ratios) == 6
    assert np.median(ratios[:3]) > 1.5
    assert len(held_out_ratios(amounts, truth, PRIOR, None, ["a"] * 8 + [None])) == 0


def test_new_coefficients_take_the_place_of_old() -> None:
    """Of the same runtime, precision and threads the new ones stay, of others the old ones do."""
    old = LatencyModel(
        runtime="litert", precision="fp32", threads=1, costs={}, low=0.5, high=2, coverage=0.9, networks=1, source="old"
    )
    new = replace(old, source="new")
    other = replace(old, threads=4)
    assert merge_models([old, other], [new]) == [new, other]
    assert to_toml(merge_models([old, other], [new])).count("[[latency]]") == 2
