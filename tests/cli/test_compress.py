"""`edgecnn compress` on the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from forked import edgecnn

from edgecnn.checkpoint import read_weights
from edgecnn.cli.compress import command
from edgecnn.errors import EdgecnnError
from tests.messages import messages


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command on digits."""
    return edgecnn("compress", *arguments, "--data", "digits")


def test_a_goal_is_searched_for_and_told(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A line a round, the table of both networks, where the plan is; exit code 0."""
    out = tmp_path / "small.safetensors"
    done = run(digits_checkpoint, "--max-drop", "4", "--macs", "0.6", "--epochs", "2", "-o", out)
    assert (done.returncode, messages(done.stderr)) == (0, [])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("round 1: ")
    assert " cut: " in lines[0] or " removed: " in lines[0]
    assert "no further round: the goals are met" in lines
    assert any("validation" in line and "accuracy" in line for line in lines)
    assert lines[-1] == f"the plan is in {tmp_path / 'small.plan.toml'}"


def test_a_goal_that_is_missed_is_exit_code_1(digits_checkpoint: Path, tmp_path: Path) -> None:
    """What is missed is told, as JSON as well, and the best found is there."""
    out = tmp_path / "best.safetensors"
    goals = ("--max-drop", "0", "--macs", "0.01", "--share", "0.9", "--epochs-between", "0")
    done = run(digits_checkpoint, *goals, "--json", "-o", out)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["unmet"] == ["100.0 % of the MACs are left, the goal is 1 %"]
    assert [one["kept"] for one in document["rounds"]] == [False] * len(document["rounds"])
    assert out.is_file()
    assert "the result is the network as it was" in done.stderr


def test_a_sparsity_says_that_files_do_not_shrink(digits_checkpoint: Path, tmp_path: Path) -> None:
    """One line with both sizes, plain and by zip."""
    out = tmp_path / "sparse.safetensors"
    done = run(digits_checkpoint, "--sparsity", "0.8", "--epochs", "1", "-o", out)
    assert (done.returncode, messages(done.stderr)) == (0, [])
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("zero weights: ")]
    assert "80.00 % now; dense files do not get smaller" in line
    assert "by zip" in line


def test_where_to_write_and_the_plans_data_need_not_be_said(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result has the network's name and lies here; one that is there already stays."""
    monkeypatch.chdir(tmp_path)
    ratio = [str(digits_checkpoint), "--data", "digits", "--ratio", "0.5", "--epochs", "0"]
    assert CliRunner().invoke(command, ratio, catch_exceptions=False).exit_code == 0
    name = f"{digits_checkpoint.stem}-small"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.safetensors", f"{name}.plan.toml"}
    by_plan = [str(digits_checkpoint), "--plan", f"{name}.plan.toml"]
    with pytest.raises(EdgecnnError, match=f"{name}.safetensors exists already: choose another file with -o"):
        CliRunner().invoke(command, by_plan, catch_exceptions=False)
    assert CliRunner().invoke(command, [*by_plan, "-o", "again.safetensors"], catch_exceptions=False).exit_code == 0


OWN = """
import torch

def first(weight):
    return -torch.arange(len(weight), dtype=torch.float32)

def failing(weight):
    raise ValueError("no such thing")
"""


def test_a_criterion_of_ones_own_is_named_beside_its_plan(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function from the folder one stands in decides; its plan alone does not make it run."""
    (tmp_path / "scoring_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    start = [str(digits_checkpoint), "--data", "digits", "--epochs", "0", "--ratio", "0.5", "-o", "own.safetensors"]
    mine = ["--criterion", "scoring_of_mine:first"]
    assert CliRunner().invoke(command, [*start, *mine], catch_exceptions=False).exit_code == 0
    before, after = read_weights(digits_checkpoint), read_weights(tmp_path / "own.safetensors")
    name = "features.0.weight"
    torch.testing.assert_close(after[name], before[name][: len(after[name])])

    again = [str(digits_checkpoint), "--plan", "own.plan.toml", "-o", "again.safetensors"]
    with pytest.raises(EdgecnnError, match="if you trust it, add --criterion scoring_of_mine:first"):
        CliRunner().invoke(command, again, catch_exceptions=False)
    with pytest.raises(EdgecnnError, match="if you trust it, add --criterion scoring_of_mine:first"):
        CliRunner().invoke(command, [*again, "--criterion", "scoring_of_mine:failing"], catch_exceptions=False)
    assert CliRunner().invoke(command, [*again, *mine], catch_exceptions=False).exit_code == 0
    torch.testing.assert_close(read_weights(tmp_path / "again.safetensors")[name], after[name])


@pytest.mark.parametrize(
    ("criterion", "told"),
    [
        ("no_such_module_of_mine:score", "no module named 'no_such_module_of_mine'; run edgecnn in the folder"),
        ("scoring_of_mine:frist", "did you mean 'first'"),
        ("broken_module_of_mine:score", "'broken_module_of_mine:score' failed: SyntaxError"),
        ("scoring_of_mine:failing", "failed for features.0: ValueError: no such thing"),
    ],
)
def test_a_criterion_of_ones_own_that_fails_is_one_line(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, criterion: str, told: str
) -> None:
    """A wrong name and what the function raises are told, and nothing is left behind."""
    (tmp_path / "scoring_of_mine.py").write_text(OWN)
    (tmp_path / "broken_module_of_mine.py").write_text("def score(")
    monkeypatch.chdir(tmp_path)
    start = [str(digits_checkpoint), "--data", "digits", "--epochs", "0", "--ratio", "0.5", "-o", "own.safetensors"]
    with pytest.raises(EdgecnnError) as caught:
        CliRunner().invoke(command, [*start, "--criterion", criterion], catch_exceptions=False)
    assert told in str(caught.value)
    assert "own" not in " ".join(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--ratio 0.5 --max-drop 1", "leave out --ratio"),
        ("--max-drop 0.02", "in points: for 2 points of accuracy give 2"),
        ("--max-drop 60", "0 to 25 points, not 60"),
        ("--max-drop 60%", "0 to 25 points, not 60"),
        ("--max-drop little", "--max-drop: 'little' is not a number; write it like 0.5 or 0.5%"),
        ("--macs 140%", "between 0 and 1, 0.5 for half, not 1.4"),
        ("--macs half", "--macs: 'half' is not a number; write it like 0.4 or 40%"),
        ("--sparsity 100%", "at least 0 and less than 1, not 1"),
        ("--ratio 0.5 --input 8x8", "--input '8x8' is not valid"),
        ("--order forward", "--order is for the search; add a goal"),
        ("--ratio 0.5 --no-layers", "--layers is for the search; add a goal"),
        ("--plan p.toml --epochs 3", "--epochs does not go with --plan"),
        ("--plan p.toml", "no plan at 'p.toml'"),
        ("--macs 0.5 --order sideways", "unknown order 'sideways'"),
        ("--macs 0.5 --criterion l3", "unknown criterion 'l3'"),
        ("--fit stm32h7a4", "did you mean 'stm32h7a3'"),
        ("--fit 64KiB", "'64KiB' is a size, not a device; for a memory of that size give --ram 64KiB"),
        ("--size 200XB", "'200XB' is not a size"),
        ("--max-drop 1 --reference 0.93", "above 1 % and at most 100 %"),
        ("--sparsity 0.5 --ratio 0.5", "--sparsity does not go with a ratio"),
        ("--sparsity 0.5 --macs 0.5", "--sparsity does not go with a ratio"),
        ("--sparsity 0.5 --criterion l1", "--criterion is for filters"),
        ("--sparsity 1", "at least 0 and less than 1, not 1"),
        ("--sparsity 0.5 --share 0.3", "--share is for the search; add a goal"),
        ("--macs 0.5 --share 1", "removes is above 0 and below 1"),
        ("--macs 0.5 --resume", "leave out --resume"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, told: str
) -> None:
    """Each wrong option is told before any work."""
    monkeypatch.chdir(tmp_path)
    arguments = [str(digits_checkpoint), "--data", "digits", "-o", "x.safetensors", *options.split()]
    with pytest.raises(EdgecnnError) as caught:
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
