"""A study is one TOML file; what is wrong with it is told in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.nets import NETS
from edgecnn.study import Study, load_study, study_names
from edgecnn.study.published import read_published, read_published_pruning

ROOT = Path(__file__).parents[2]
STUDY = """
title = "Two"
data = "digits"
classes = 10
input_shape = [1, 8, 8]
variants = [
    { number = 1, model = "edgecnn:digits-cnn" },
    { number = 2, model = "edgecnn:digits-cnn", compared_with = 1 },
]
"""


@pytest.mark.parametrize("name", study_names())
def test_a_shipped_study_loads(name: str) -> None:
    """Each shipped study names networks that are there, and its published files are read."""
    study = load_study(name)
    assert {variant.name for variant in study.variants} <= set(NETS.names())
    assert set(read_published(study)) <= {variant.number for variant in study.variants}
    pruned = {number for pruning in study.pruning for number in pruning.variants}
    assert {number for number, _ in read_published_pruning(study)} == (pruned if study.published_pruning else set())


def test_the_study_of_the_readme_is_read(tmp_path: Path) -> None:
    """The file that names every key is one that edgecnn takes."""
    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "studies/README.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "mine.toml").write_text(shown, encoding="utf-8")
    study = load_study(str(tmp_path / "mine.toml"))
    assert (study.name, study.variants[1].compared_with, study.pruning[0].iterations) == ("mine", 1, 3)
    assert study.published == str(tmp_path / "digits.csv")


def test_variants_are_chosen_by_number() -> None:
    """Chosen variants come in the study's order, all of them without a number."""
    study = load_study("vgg19-cifar10")
    assert [variant.number for variant in study.chosen([8, 4])] == [4, 8]
    assert study.chosen() == study.variants


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("edgecnn:digits-cnn", "os:getcwd", "a study's model is edgecnn:NAME or torchvision:NAME, not 'os:getcwd'"),
        ("number = 2", "number = 1", "each has its own number"),
        ("compared_with = 1", "compared_with = 7", "unknown variant '7'; known: 1, 2"),
        ('data = "digits"', 'data = "digits"\npublished_protocol = "z"', "unknown protocol 'z'"),
        ('data = "digits"', "", "missing key 'data'"),
        ("classes", "clases", "did you mean 'classes'"),
    ],
)
def test_a_broken_study_is_told_in_one_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    """Each error names the file and what is wrong; a file never names code."""
    path = tmp_path / "mine.toml"
    path.write_text(STUDY.replace(before, after), encoding="utf-8")
    with pytest.raises(EdgecnnError) as raised:
        load_study(str(path))
    assert str(raised.value).startswith((str(path), "unknown key in " + str(path)))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file at"),
        ("", "the first line must be variant,params_millions"),
        ("variant,params_millions,flops_millions,size_mib,accuracy_percent\n1,2\n", "line 2: 2 values for 5 columns"),
        (
            "variant,params_millions,flops_millions,size_mib,accuracy_percent\n1,many,,,\n",
            "line 2: params_millions: expected a number, found 'many'",
        ),
        (
            "variant,params_millions,flops_millions,size_mib,accuracy_percent\n1,nan,,,\n",
            "line 2: params_millions: expected a number, found 'nan'",
        ),
    ],
)
def test_broken_published_figures_are_told(tmp_path: Path, content: str | None, message: str) -> None:
    """A table that is missing or broken is named with its line."""
    (tmp_path / "mine.toml").write_text(STUDY.replace("classes", 'published = "p.csv"\nclasses'), encoding="utf-8")
    if content is not None:
        (tmp_path / "p.csv").write_text(content, encoding="utf-8")
    with pytest.raises(EdgecnnError, match=re.escape(message)):
        read_published(load_study(str(tmp_path / "mine.toml")))


def test_an_unknown_study_and_variant_are_named() -> None:
    """Unknown names are answered with those that are known."""
    with pytest.raises(EdgecnnError, match="unknown study 'resnet101'; did you mean 'resnet101-cifar10'"):
        load_study("resnet101")
    study: Study = load_study("vgg19-cifar10")
    with pytest.raises(EdgecnnError, match="unknown variant of study vgg19-cifar10: '99'"):
        study.chosen([99])
    with pytest.raises(EdgecnnError, match="study vgg19-cifar10 does not prune variant 1: it prunes none"):
        study.pruning_of(study.variants[0])
