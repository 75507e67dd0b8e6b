"""Counted figures stand beside published ones, and what differs is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.study import count_variants, load_study
from edgecnn.study.figures import VariantFigures
from edgecnn.study.pruning import count_iterations, nonzero_after
from edgecnn.study.published import Published


@pytest.fixture(scope="module")
def small() -> VariantFigures:
    """The figures of the smallest network."""
    study = load_study("resnet101-cifar10")
    return count_variants(study, study.chosen([13]))[0]


def test_the_figures_of_a_variant(small: VariantFigures) -> None:
    """Parameters, MACs, FLOPS and bytes of no. 13 are those that were measured on the published network."""
    assert (small.params, small.macs, small.fvcore_flops) == (150_715, 10_783_616, 12_795_488)
    assert small.weights_bytes == 4 * (150_715 + 19_124)  # batch norm has as many statistics as parameters
    assert small.published == Published(0.151, 12.80, 0.82, 90.82)
    assert small.differs == ()


@pytest.mark.parametrize(
    ("published", "differs"),
    [
        (Published(0.150, 12.79, 0.66), ()),  # cut off
        (Published(0.152), ("params 0.151 M",)),
        (Published(flops_millions=12.78), ("FLOPS 12.80 M",)),
        (Published(size_mib=7.70), ("size 0.65 MiB",)),
        (Published(), ()),
    ],
)
def test_what_differs(small: VariantFigures, published: Published, differs: tuple[str, ...]) -> None:
    """A published figure that is neither ours rounded nor cut off is named with ours."""
    assert replace(small, published=published).differs == differs


@pytest.mark.parametrize("name", [pytest.param("resnet101-cifar10", marks=pytest.mark.slow), "resnet101-cifar100"])
def test_every_published_count_of_pruned_weights(name: str) -> None:
    """After each iteration of pruning no. 1, 11 and 13 as many weights are left as is published, to the unit."""
    study = load_study(name)
    compared = 0
    for variant in study.chosen([1, 11, 13]):
        for iteration in count_iterations(study, variant):
            if iteration.published is not None:
                assert iteration.nonzero == iteration.published.nonzero, (variant.number, iteration.iteration)
                compared += 1
    assert compared == {"resnet101-cifar10": 35, "resnet101-cifar100": 33}[name]


def test_an_iteration_rounds_its_share() -> None:
    """Each iteration takes the rounded share of what is left: 21 of them leave 390 952 of 42 387 136."""
    assert list(nonzero_after(42_387_136, 21, 0.2))[-1] == 390_952
