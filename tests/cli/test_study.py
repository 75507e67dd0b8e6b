"""`edgecnn study` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecnn.artifact import Artifact
from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.cli import cli, main
from edgecnn.errors import EdgecnnError


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


STUDY = """
title = "Two networks for digits"
data = "digits"
classes = 10
input_shape = [1, 8, 8]
published = "published.csv"
published_protocol = "a"
variants = [
    { number = 1, model = "edgecnn:digits-cnn", blocks = "3x3 convolutions" },
    { number = 2, model = "edgecnn:alexnet", compared_with = 1 },
]

[[pruning]]
variants = [1]
share = 0.5
iterations = 1
epochs = 1
"""
SETTINGS = ("--epochs", "1", "--samples", "256")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one network that suits its data, trained, and one that does not."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "two.toml").write_text(STUDY, encoding="utf-8")
    header = "variant,params_millions,flops_millions,size_mib,accuracy_percent\n"
    (folder / "published.csv").write_text(f"{header}1,0.057,,,99.5\n", encoding="utf-8")
    words = ["study", "run", str(folder / "two.toml"), *SETTINGS, "-o", str(folder / "runs")]
    done = CliRunner().invoke(cli, [*words, "--markdown"])
    assert isinstance(done.exception, EdgecnnError)
    assert str(done.exception).startswith("1 of 2 runs failed; ")
    assert "| digits-cnn.c-1-0 | c | 1 | 0 |" in done.stdout
    return folder


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(folder: Path) -> None:
    """The network that does not fit its data is a result with its error, the other one a checkpoint and an accuracy."""
    results = {path.stem: json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")}
    assert "Output size is too small" in results["alexnet.c-1-0"]["error"]
    assert results["digits-cnn.c-1-0"]["error"] is None
    checkpoint = Checkpoint.read(folder / "runs/digits-cnn.c-1-0.safetensors")
    assert checkpoint is not None
    assert checkpoint.accuracy == results["digits-cnn.c-1-0"]["figures"]["accuracy"]
    assert not list((folder / "runs").glob("*.training.safetensors"))


@pytest.mark.slow
def test_measured_accuracies_stand_beside_published_ones(folder: Path) -> None:
    """The table has the published accuracy and the measured one apart, with protocol, epochs and seed."""
    text = invoke("table", str(folder / "two.toml"), "--variants", "1", "--runs", str(folder / "runs"), "--json")
    (row,) = json.loads(text)["variants"]
    assert row["published"]["accuracy_percent"] == 99.5
    (measured,) = row["measured"]
    assert (measured["identity"]["protocol"], measured["figures"]["epochs"], measured["identity"]["seed"]) == (
        "c",
        1,
        0,
    )
    shown = invoke(
        "table", str(folder / "two.toml"), "--variants", "1", "--runs", str(folder / "runs"), "--format", "markdown"
    )
    top1 = measured["figures"]["accuracy"]["top1"]
    assert f"| 99.5 % | {100 * top1:.2f} % (c, 1 epochs, seed 0) |" in shown


@pytest.mark.slow
def test_pruning_and_int8_of_a_trained_network(folder: Path) -> None:
    """Pruning leaves as many weights as it counts, and each checkpoint gets an int8 file with its accuracy."""
    common = [str(folder / "two.toml"), "--variants", "1", *SETTINGS, "-o", str(folder / "runs"), "--json"]
    pruned = json.loads(invoke("prune", *common, "--train"))
    (run,) = pruned["runs"]
    left = run["figures"]["iterations"][1]["convolution_weights"]
    assert left == pruned["iterations"][1]["counted"]["convolution_weights"]
    weights = read_weights(folder / "runs/digits-cnn.c-1-0.pruned1.safetensors")
    assert sum(int((tensor != 0).sum()) for tensor in weights.values() if tensor.ndim == 4) == left
    quantized = json.loads(invoke("quantize", *common))["runs"]
    assert [result["name"] for result in quantized] == ["digits-cnn.c-1-0.w8a8", "digits-cnn.c-1-0.pruned1.w8a8"]
    for result in quantized:
        artifact = Artifact.open(folder / "runs" / f"{result['name']}.tflite")
        assert artifact.precision == "w8a8"
        assert result["figures"]["calibrated_on_training"]["size_bytes"] == artifact.size_bytes
        assert result["figures"]["calibrated_on_evaluation"]["accuracy"]["n"] == 539


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "two.toml", "--protocol", "d"], "unknown protocol 'd'; known: a, b, c"),
        (["run", "two.toml", "--teacher", "no.safetensors"], "no.safetensors"),
        (["run", "two.toml", "--variants", "1", "--data-dir", "d", "-o", "two.toml"], "two.toml"),
        (["prune", "two.toml", "--variants", "1", "--train", "-o", "none"], "no trained network at 'none/digits-cnn"),
        (["quantize", "two.toml", "--variants", "1", "-o", "none"], "no trained network of study two"),
        (["table", "two.toml", "--variants", "1", "--runs", "none"], "no folder of runs at 'none'"),
        (["deploy", "two.toml", "--device", "rpi44", "-o", "none"], "unknown device 'rpi44'"),
    ],
)
def test_bad_input_of_runs_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """What is unknown or not there ends with exit code 2 and one line, before anything is trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(STUDY.replace('published = "published.csv"', ""), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["study", *arguments])
    assert ended.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("counting")]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.toml"]


@pytest.mark.slow
def test_a_deployed_network_has_its_figures_under_how_they_came_to_be(folder: Path) -> None:
    """Four verified files with trained weights, sizes measured, latency estimated, fits; done once."""
    words = ["deploy", str(folder / "two.toml"), "--variants", "1", "--runs", str(folder / "runs"), "--no-timing"]
    words += ["--device", "rpi4", "--device", "stm32h7a3", "-o", str(folder / "deployed"), "--json"]
    (run,) = json.loads(invoke(*words))["runs"]
    assert run["figures"]["weights"] == "digits-cnn.c-1-0.safetensors"
    files = {(one["format"], one["precision"]): one for one in run["figures"]["files"]}
    assert set(files) == {(kind, precision) for kind in ("onnx", "tflite") for precision in ("fp32", "w8a8")}
    place = folder / "deployed/two.digits-cnn"
    for one in files.values():
        assert one["failed"] is None
        assert one["measured"]["size_bytes"] == (place / one["file"]).stat().st_size
        assert "p50_ns" not in one["measured"]
        assert one["counted"]["operators"] > 0
    int8 = files["tflite", "w8a8"]
    assert int8["estimated"]["rpi4"]["p50_ns"] > 0
    assert int8["estimated"]["stm32h7a3"]["fits"] is True
    assert files["onnx", "fp32"]["estimated"]["stm32h7a3"]["fits"] is None
    before = (place / int8["file"]).stat().st_mtime_ns
    assert json.loads(invoke(*words))["runs"] == [run]
    assert (place / int8["file"]).stat().st_mtime_ns == before
    text = invoke(*words[:-1], "--markdown")
    assert "| digits-cnn.w8a8.tflite | digits-cnn.c-1-0.safetensors |" in text
