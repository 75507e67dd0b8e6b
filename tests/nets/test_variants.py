"""The 28 networks of the architecture study have the parameters and the operations that are published, to the unit."""

from __future__ import annotations

import csv
import functools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.checkpoint import call_factory
from edgecnn.errors import EdgecnnError
from edgecnn.nets import NETS, variants
from edgecnn.nets.operations import OperationCount, count_operations
from edgecnn.nets.variants import RESNET101, VGG19, resnet101, vgg19

BLOCKS = Path(__file__).parents[1] / "data/study_blocks.csv"
NAMES = [*(f"resnet101-v{n}" for n in RESNET101), *(f"vgg19-v{n}" for n in VGG19)]

#: Name → parameters and the total of fvcore, with 10 and with 100 classes: architectures.md section 5 of the study for
#: 10; for 100 what the published tables give, and for the pruned ones what they were counted from.
TOTALS = {
    "resnet101-v1": (42512970, 2520223744),
    "resnet101-v2": (59061002, 3480014848),
    "resnet101-v3": (35397093, 2141584384),
    "resnet101-v4": (21240357, 1279532032),
    "resnet101-v5": (7536165, 420748288),
    "resnet101-v6": (2254945, 79208384),
    "resnet101-v7": (1186923, 62394784),
    "resnet101-v8": (873067, 57373088),
    "resnet101-v9": (868801, 53004704),
    "resnet101-v10": (450270, 32827340),
    "resnet101-v11": (400115, 29762496),
    "resnet101-v12": (1424115, 31482816),
    "resnet101-v13": (150715, 12795488),
    "resnet101-v14": (1174715, 14515808),
    "resnet101-v15": (2999295, 160395372),
    "vgg19-v1": (38958922, 417652736),
    "vgg19-v2": (20040522, 398744576),
    "vgg19-v3": (13103461, 256034816),
    "vgg19-v4": (2285413, 46757888),
    "vgg19-v5": (1801906, 40221696),
    "vgg19-v6": (473778, 10990592),
    "vgg19-v7": (473798, 11004024),
    "vgg19-v8": (151254, 4802680),
    "vgg19-v9": (397038, 9431592),
    "vgg19-v10": (341742, 8546856),
    "vgg19-v11": (1541870, 10050088),
    "vgg19-v12": (1351382, 6305912),
    "vgg19-v13": (260710, 7334936),
}
#: What the papers print for 100 classes: millions of parameters and of FLOPS.
PRINTED_100 = {
    "resnet101-v1": (42.697, 2520.41),
    "resnet101-v2": (59.245, 3480.20),
    "resnet101-v3": (35.582, 2141.77),
    "resnet101-v4": (21.425, 1279.72),
    "resnet101-v5": (7.721, 420.93),
    "resnet101-v6": (2.439, 79.39),
    "resnet101-v7": (1.233, 63.14),
    "resnet101-v8": (0.919, 58.11),
    "resnet101-v9": (0.915, 53.75),
    "resnet101-v10": (0.458, 32.83),  # 32.835: cut off, not rounded
    "resnet101-v11": (0.408, 29.89),
    "resnet101-v12": (1.432, 31.61),
    "resnet101-v13": (0.159, 12.93),
    "resnet101-v14": (1.182, 14.65),  # 1.1828: likewise
    "resnet101-v15": (3.007, 160.40),
    "vgg19-v1": (39.328, 418.02),
    "vgg19-v2": (20.087, 398.79),
    "vgg19-v3": (13.150, 256.08),
    "vgg19-v4": (2.332, 46.8),
    "vgg19-v5": (1.848, 40.27),
    "vgg19-v6": (0.520, 11.04),
    "vgg19-v7": (0.520, 11.19),
    "vgg19-v8": (0.198, 4.99),
    "vgg19-v9": (0.443, 9.62),
    "vgg19-v10": (0.388, 8.73),
    "vgg19-v11": (1.588, 10.23),
    "vgg19-v12": (1.398, 6.49),
    "vgg19-v13": (0.307, 7.52),  # not printed: counted on the network of the paper
}
#: Of the printed ones those that are known to the unit.
EXACT_100 = {
    "resnet101-v1": (42697380, 2520408064),
    "resnet101-v11": (408035, 29890656),
    "resnet101-v13": (158815, 12926528),
}


@functools.cache
def built(name: str, classes: int = 10, faithful: bool = True) -> nn.Module:
    """The network *name*, without memory for its weights."""
    with torch.device("meta"):
        return call_factory(NETS.where(name), {"classes": classes, "faithful": faithful}).eval()


@functools.cache
def counted(name: str, classes: int = 10, faithful: bool = True) -> Mapping[str, OperationCount]:
    """The operations of a network and of each module in it."""
    with torch.device("meta"):
        network = call_factory(NETS.where(name), {"classes": classes, "faithful": faithful}).eval()
    # Memory that nobody fills: the values count for nothing, and a run on the meta device takes longer.
    return count_operations(network.to_empty(device="cpu"), (3, 32, 32))


def params(module: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def blocks_of(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each block of a network and what it has, runs of equal ones written out."""
    with BLOCKS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["network"] == name:
                stem, _, last = row["blocks"].partition("-")
                stem, dot, first = stem.rpartition(".")
                for number in range(int(first), int(last) + 1) if last else (first,):
                    yield f"{stem}{dot}{number}", row


#: All of them; `make quick` takes one network of each kind of block.
_SOME = ("resnet101-v13", "vgg19-v8", "vgg19-v11")
ALL = [name if name in _SOME else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", ALL)
def test_parameters_and_the_total_are_the_published_ones(name: str) -> None:
    """With 10 classes the parameters and the fvcore total are equal to the unit."""
    assert (params(built(name)), counted(name)[""].fvcore_flops) == TOTALS[name]


@pytest.mark.parametrize("name", ALL)
def test_every_block_is_as_in_the_paper(name: str) -> None:
    """Each block has the parameters and the operations of the block in its place, and together they are everything."""
    network, total, blocks = built(name), 0, 0
    for place, row in blocks_of(name):
        block = network.get_submodule(place)
        count = counted(name)[place]
        found = (
            params(block),
            count.convolution_macs,
            count.linear_macs,
            2 * count.batch_norm_elements,
            count.pooled_elements,
        )
        keys = ("params", "convolution_macs", "linear_macs", "batch_norm_flops", "pooled_elements")
        assert found == tuple(int(row[key]) for key in keys), place
        total, blocks = total + found[0], blocks + 1
    assert blocks > 16
    assert total == params(network)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_classes_are_as_printed(name: str) -> None:
    """With 100 classes parameters and total are those of the papers, to the last digit that is printed or known."""
    found = (params(built(name, 100)), counted(name, 100)[""].fvcore_flops)
    for ours, printed, digits in zip(found, PRINTED_100[name], (3, 2), strict=True):
        assert -0.5 < ours / 1e6 * 10**digits - printed * 10**digits < 1, "neither rounded nor cut off"
    assert found == EXACT_100.get(name, found)


@pytest.mark.parametrize("name", [pytest.param("resnet101-v11", marks=pytest.mark.slow), "resnet101-v13"])
def test_a_hundred_classes_of_the_pruned_networks(name: str) -> None:
    """No. 11 and 13, whose pruning is published, have the totals with 100 classes that its counts start from."""
    assert (params(built(name, 100)), counted(name, 100)[""].fvcore_flops) == EXACT_100[name]


@pytest.mark.parametrize("name", [n if n == "vgg19-v8" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_fvcore_counts_the_same(name: str) -> None:
    """The count of fvcore itself is the total that our counter gives under its name."""
    fvcore = pytest.importorskip("fvcore.nn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, which fvcore reads networks with
        analysis = fvcore.FlopCountAnalysis(call_factory(NETS.where(name), {}).eval(), torch.zeros(1, 3, 32, 32))
        assert analysis.unsupported_ops_warnings(False).total() == TOTALS[name][1]


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        pytest.param("resnet101-v15", 8448, marks=pytest.mark.slow),
        ("vgg19-v5", 1376),
        ("vgg19-v8", 5504),
        ("vgg19-v12", 5504),
    ],
)
def test_dead_parameters_are_there_and_get_no_gradient(name: str, dead: int) -> None:
    """The published counts include layers that never run, as many as are known."""
    network = call_factory(NETS.where(name), {}).train()
    network(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert sum(p.numel() for p in network.parameters() if p.grad is None) == dead


@pytest.mark.parametrize(("name", "more"), [("vgg19-v5", 75_776), ("vgg19-v8", 303_104), ("vgg19-v12", 303_104)])
def test_mended_batch_norms_run(name: str, more: int) -> None:
    """Mended, the dead batch norms of VGG run: the same parameters, and their elements are counted."""
    assert params(built(name, faithful=False)) == TOTALS[name][0]
    assert counted(name, faithful=False)[""].fvcore_flops == TOTALS[name][1] + more


@pytest.mark.slow
def test_mended_dead_layers_are_gone() -> None:
    """Mended, ResNet-101 no. 15 has no layers that never run, and computes what it did."""
    name = "resnet101-v15"
    assert params(built(name, faithful=False)) == TOTALS[name][0] - 8448
    assert counted(name, faithful=False)[""] == counted(name)[""]


@pytest.mark.parametrize(("name", "highest"), [("resnet101-v13", 6.0), ("vgg19-v8", float("inf"))])
def test_logits_of_pointwise_heads_are_cut_off(name: str, highest: float) -> None:
    """Faithful logits lie within [0, 6] or above 0; mended ones go below 0 and, on ResNet, above 6."""
    torch.manual_seed(0)
    for faithful in (True, False):
        network = call_factory(NETS.where(name), {"faithful": faithful})
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, nn.BatchNorm2d) and layer.num_features == 10:
                    layer.weight.fill_(50)
            logits = network.train()(torch.randn(8, 3, 32, 32))
        assert bool((logits >= 0).all() and (logits <= highest).all()) is faithful


def test_dropout_stands_on_the_logits() -> None:
    """Faithful, about half of the logits of VGG-19 no. 4 are zero in training; mended, none is."""
    for faithful, zeros in ((True, True), (False, False)):
        torch.manual_seed(0)
        logits = call_factory(NETS.where("vgg19-v4"), {"faithful": faithful}).train()(torch.randn(4, 3, 32, 32))
        assert bool((logits == 0).any()) is zeros


def test_a_row_more_is_a_network_more() -> None:
    """A variant that nobody published is a row: ResNet-101 no. 13 with no. 8's tail."""
    with torch.device("meta"):
        network = variants.ResNet101(replace(RESNET101[13], tail=(512,)), classes=7).eval()
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize(("make", "variant"), [(resnet101, 16), (vgg19, 0)])
def test_an_unknown_variant_is_named(make: type[nn.Module], variant: int) -> None:
    """A number that is no row is answered with those that are."""
    with pytest.raises(EdgecnnError, match=rf"unknown variant of (ResNet-101|VGG-19) '{variant}'.* known: 1, 10"):
        make(variant)
