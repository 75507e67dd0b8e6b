"""`edgecnn sensitivity` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecnn.cli.sensitivity import command
from edgecnn.compress.sensitivity import SensitivityConfig, sensitivity
from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.pipeline import measure_sensitivity
from edgecnn.pipeline.judging import SHARES

ARGUMENTS = ["edgecnn:digits-cnn", "--data", "digits", "--ratio", "0.25,0.5"]


def test_writes_the_table_the_plot_and_the_json(tmp_path: Path) -> None:
    """One row a cut, in all three files and on standard output, judged on the tenth of the training part."""
    run = CliRunner().invoke(command, [*ARGUMENTS, "--json", "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document == json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    rows = document["rows"]
    assert [(row["unit"], row["ratio"]) for row in rows][:2] == [("features.0", 0.25), ("features.0", 0.5)]
    assert sorted(row["rank"] for row in rows) == list(range(1, len(rows) + 1))
    assert all(row["params_saved"] > 0 and row["macs_saved"] > 0 for row in rows)
    assert all(row["bytes_saved"] >= 4 * row["params_saved"] for row in rows)
    assert all(row["accuracy"]["low"] <= row["accuracy"]["top1"] <= row["accuracy"]["high"] for row in rows)
    assert document["n"] == 126
    assert document["recalibrated"]
    table = (tmp_path / "out" / "sensitivity.md").read_text()
    assert table.count("| features.") == len(rows)
    assert table.startswith(
        "Each cut alone, batch norm's statistics and the spread of scores following it, in a network of accuracy "
    )
    assert "- classifier stays: " in table
    assert "| MACs | weights |" in table
    assert "of weights as floats; measured" in table
    assert document["fixed_whole"] == []
    assert (tmp_path / "out" / "sensitivity.svg").read_text().lstrip().startswith("<?xml")


def test_prints_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder nothing is written; the cheapest cut stands first."""
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(command, [*ARGUMENTS, "--per", "macs"], catch_exceptions=False)
    assert run.exit_code == 0
    assert not list(tmp_path.iterdir())
    assert "ranked by loss per MACs saved" in run.stdout
    assert "features.4" in run.stdout


def test_ranks_by_activations(tmp_path: Path) -> None:
    """What a microcontroller's RAM is short of can be ranked by as well, and is in the table and in the JSON."""
    arguments = [*ARGUMENTS, "--per", "activations", "-o", str(tmp_path)]
    run = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    assert "ranked by loss per elements of activations saved" in run.stdout
    document = json.loads((tmp_path / "sensitivity.json").read_text())
    saved = {(row["unit"], row["ratio"]): row["activations_saved"] for row in document["rows"]}
    assert 0 < saved["features.4", 0.25] < saved["features.4", 0.5] < document["original"]["activations"]
    assert "| weights | activations |" in (tmp_path / "sensitivity.md").read_text()


def test_cuts_settle_on_what_they_are_not_judged_by() -> None:
    """Judged on a tenth of the training part, recalibrated on the rest."""
    network, data = build("edgecnn:digits-cnn"), open_dataset("digits")
    found = measure_sensitivity(network, data="digits", ratios=[0.5])
    others, judges = data.training.split(SHARES["training"])
    rows = {
        name: sensitivity(
            network.module,
            data.shape,
            judges,
            SensitivityConfig(ratios=(0.5,)),
            data.normalization,
            calibration=calibration,
        ).rows
        for name, calibration in (("recalibrated", others), ("not", None), ("on the judges", judges))
    }
    assert found.rows == rows["recalibrated"]
    assert found.rows != rows["not"]
    assert found.rows != rows["on the judges"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--ratio", "half"], "'half' is not valid"),
        (["--ratio", "2"], "above 0 and at most 1"),
        (["--agreement", "2"], "agreement is above 0"),
        (["--criterion", "l9"], "unknown criterion 'l9'"),
    ],
)
def test_bad_input_is_one_line(given: list[str], told: str) -> None:
    """What was given wrong is said, with what is right."""
    with pytest.raises(EdgecnnError, match=told):
        CliRunner().invoke(command, [*ARGUMENTS, *given], catch_exceptions=False)


def test_taylor_takes_its_gradients_from_the_other_images() -> None:
    """The criterion that needs gradients works here as in compress."""
    run = CliRunner().invoke(command, [*ARGUMENTS, "--criterion", "taylor"], catch_exceptions=False)
    assert run.exit_code == 0
    assert "features.4" in run.stdout


def test_data_of_other_classes_are_told() -> None:
    """A network for 12 classes would be judged by data of 10 without a word."""
    network = build("edgecnn:digits-cnn", classes=12, channels=1)
    with pytest.raises(EdgecnnError, match="distinguishes 12 classes, data set 'digits' has 10"):
        measure_sensitivity(network, data="digits")


BRANCHING = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(288, 10)

    def forward(self, x):
        y = self.body(x)
        return self.head((y if y.sum() > 0 else -y).flatten(1))

def net():
    return Net().eval()
"""


def test_a_branch_on_values_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own file and the line of the choice, in one line."""
    (tmp_path / "choosing.py").write_text(BRANCHING)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EdgecnnError, match=r"choosing\.py:12: the network branches on computed values") as error:
        CliRunner().invoke(command, ["choosing:net", "--data", "digits"], catch_exceptions=False)
    assert "\n" not in str(error.value)


def test_data_are_needed() -> None:
    """Without data there is nothing to judge by."""
    with pytest.raises(EdgecnnError, match="give --data"):
        CliRunner().invoke(command, ARGUMENTS[:1], catch_exceptions=False)


def test_what_keeps_layers_from_going_whole_is_told() -> None:
    """A line for each reason, where layers were to go whole: the JSON names them all."""
    arguments = ["edgecnn:resnet20", "--data", "digits", "--normalize", "unit", "--ratio", "1.0"]
    run = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    lines = [line for line in run.stdout.splitlines() if "cannot be removed as a whole: " in line]
    assert "layer2.0.conv1, layer3.0.conv1 cannot be removed as a whole: it changes the resolution" in lines
    assert any(
        " and 5 more cannot be removed as a whole: its filters are tied to those of conv1" in line for line in lines
    )
    run = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    named = {one["name"] for one in json.loads(run.stdout)["fixed_whole"]}
    assert {"conv1", "layer1.2.conv2", "layer3.2.conv2", "linear"} <= named


TIED = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.c.weight = self.b.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.c(self.b(self.a(x).relu()).relu()).relu().flatten(1))

def net():
    return Net()

def plain():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
"""


def test_where_nothing_can_be_cut_the_reasons_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers and what keeps them, or by which ratio there is something to cut, in one line."""
    (tmp_path / "tied_layers.py").write_text(TIED)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        EdgecnnError, match=r"cut with ratio 0\.5: filters of a, b: b and c share their weights; "
    ) as caught:
        CliRunner().invoke(command, ["tied_layers:net", "--data", "digits", "--ratio", "0.5"], catch_exceptions=False)
    assert "filters of head: its filters are outputs of the network" in str(caught.value)
    assert "whole" not in str(caught.value)
    with pytest.raises(
        EdgecnnError, match=r"cut with ratio 1: 0 whole: .*; layers can only be cut with ratios below 1"
    ):
        CliRunner().invoke(command, ["tied_layers:plain", "--data", "digits", "--ratio", "1"], catch_exceptions=False)
