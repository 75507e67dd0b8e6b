"""`edgecnn study` on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgecnn.cli import cli, main


def invoke(*arguments: str) -> str:
    """Return what the command prints on standard output."""
    done = CliRunner().invoke(cli, ["study", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_list_has_every_study() -> None:
    """The shipped studies are listed, as JSON with their variants."""
    listed = json.loads(invoke("list", "--json"))
    assert {study["name"]: len(study["variants"]) for study in listed} == {
        "resnet101-cifar10": 15,
        "resnet101-cifar100": 15,
        "vgg19-cifar10": 13,
        "vgg19-cifar100": 13,
    }
    assert "resnet101-cifar100" in invoke("list")


def test_show_says_what_a_change_saves() -> None:
    """Each row has its counts, and beside the variant that it changes what that saves."""
    text = invoke("show", "vgg19-cifar10", "--variants", "7,8", "--markdown")
    assert "| 8 | no. 7, grouped and shuffled | 151 k | 4.8 M | 4.42 M |" in text
    assert "no. 7: -68%, -57%" in text


def test_the_table_has_published_beside_counted() -> None:
    """Markdown on request; published and counted never share a column, and what differs is named."""
    text = invoke("table", "resnet101-cifar10", "--variants", "12,13", "--format", "markdown")
    head, _, first, second, *_ = [line for line in text.splitlines() if line.startswith("|")]
    assert "| params, published | params, counted |" in head
    assert "| 1.424 M | 1 424 115 | 31.48 M | 31 482 816 |" in first
    assert first.endswith("| size 5.51 MiB |")
    assert second.endswith("| - |")
    assert "Published: Sobolewski and Szyc 2023, protocol a." in text


def test_prune_counts_each_iteration() -> None:
    """The counts of each iteration as JSON, published beside counted."""
    iterations = json.loads(invoke("prune", "resnet101-cifar10", "--variants", "13", "--json"))["iterations"]
    assert [one["counted"]["nonzero"] for one in iterations][:3] == [150_715, 105_273, 84_218]
    assert iterations[10]["published"] == {"nonzero": 14_130, "accuracy_percent": 80.02, "sparsity_percent": 89.2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "resnet"], "unknown study 'resnet'; did you mean 'resnet101-cifar10'"),
        (["show", "vgg19-cifar10", "--variants", "14"], "unknown variant of study vgg19-cifar10: '14'"),
        (["show", "vgg19-cifar10", "--variants", "four"], "'four' is not a list of whole numbers"),
        (["prune", "vgg19-cifar10", "--variants", "1"], "study vgg19-cifar10 does not prune variant 1"),
        (["prune", "vgg19-cifar10"], "study vgg19-cifar10 prunes none of its networks"),
        (["table", "vgg19-cifar10", "--json", "--format", "markdown"], "give --json or --format markdown, not both"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """What is unknown ends with exit code 2 and one line that says what is known."""
    with pytest.raises(SystemExit) as ended:
        main(["study", *arguments])
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.strip().count("\n") == 0
