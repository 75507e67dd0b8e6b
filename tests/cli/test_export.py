"""`edgecnn export` and `edgecnn compare` as scripts call them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from forked import edgecnn

from edgecnn.pipeline import ExportResult
from tests.messages import messages

PARITY = {"max_abs_diff", "sqnr_db", "top1_agreement", "n", "worst", "least_agreeing", "moved"}


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a failure: exit code 2, no traceback, nothing on standard output."""
    assert run.returncode == 2, run.stderr
    (line,) = [line for line in messages(run.stderr) if not line.startswith("edgecnn: warning:")]
    return line


def test_export_json_holds_what_scripts_rely_on(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The document has every promised key, accuracies are fractions, and the files are there."""
    run = edgecnn("export", digits_checkpoint, "--data", "digits", "--recipe", "x86", "-o", tmp_path, "--json")
    assert run.returncode == 0, run.stderr
    files = json.loads(run.stdout)["files"]
    assert len(files) == 2
    for file in files:
        assert {"path", "format", "precision", "size_bytes", "accuracy", "parity", "float_operators"} <= set(file)
        assert Path(file["path"]).stat().st_size == file["size_bytes"]
        assert 0.9 < file["accuracy"]["low"] < file["accuracy"]["top1"] <= 1
        assert set(file["parity"]) == PARITY
        assert file["float_operators"] == []


def test_a_broken_limit_is_exit_code_3(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The sentence says which limit, the file is left as rejected, the document is printed all the same."""
    recipe = tmp_path / "strict.toml"
    recipe.write_text('title = "strict"\nfiles = { onnx = ["w8a8"] }\nlimits = { w8a8 = { min_sqnr_db = 300.0 } }\n')
    out = tmp_path / "out"
    run = edgecnn("export", digits_checkpoint, "--data", "digits", "--recipe", recipe, "-o", out, "--json")
    assert run.returncode == 3
    assert "the recipe asks for 300.0" in run.stderr
    assert "Traceback" not in run.stderr
    assert json.loads(run.stdout)["files"][0]["path"].endswith("digits.w8a8.onnx.rejected")
    assert (out / "digits.w8a8.onnx.rejected").is_file()


def test_a_rejected_file_tells_what_to_do_next(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The layer that loses most of the signal, and a whole command for one that loses less; each layer in the JSON."""
    recipe = tmp_path / "strict.toml"
    recipe.write_text('title = "strict"\nfiles = { tflite = ["w8a8"] }\nlimits = { w8a8 = { min_sqnr_db = 300.0 } }\n')
    out = tmp_path / "my out"
    run = edgecnn("export", digits_checkpoint, "--data", "digits", "--recipe", recipe, "-o", out)
    assert run.returncode == 3
    assert "digits.w8a8.tflite.rejected gets most of its quantization noise (SQNR) in " in run.stdout
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("next: w8 keeps")]
    command = f"edgecnn export {digits_checkpoint} --data digits -o '{out}' --recipe phone"
    assert line.endswith(command)
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("next: --quantize auto")]
    assert line.endswith(f"--recipe {recipe} --quantize auto")
    document = json.loads((out / "digits.w8a8.tflite.rejected.json").read_text())
    layers = document["result"]["layers"]
    assert {"kind", "name", "step", "input_db", "output_db", "source", "range_used", "saturated"} == set(layers[0])
    assert layers[0]["output_db"] > 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["edgecnn:digits-cn", "--data", "digits"], "did you mean 'digits-cnn'"),
        (["edgecnn:digits-cnn", "--data", "digit"], "did you mean 'digits'"),
        (["edgecnn:digits-cnn", "--data", "digits", "--recipe", "boart"], "did you mean 'board'"),
        (["edgecnn:digits-cnn", "--data", "digits", "--normalize", "pixel"], "known: pixels, unit, imagenet"),
        (["edgecnn:digits-cnn", "--data", "digits", "--input", "3x8x8"], "1x3x8x8"),
        (["edgecnn:digits-cnn", "--data", "digits", "--input", "1x1x9x9"], "gives [1, 8, 8]"),
        (["edgecnn:resnet20", "--data", "digits", "--weights", "absent.pth"], "no file at 'absent.pth'"),
        (["edgecnn:digits-cnn", "--data", "npz:absent.npz"], "no file at 'absent.npz'"),
        (["edgecnn:digits-cnn", "--dta", "digits"], "No such option"),
        (["edgecnn:digits-cnn", "--data", "digits", "--name", "a/b"], "not a file name"),
        (["absent.onnx", "--data", "digits"], "no file at 'absent.onnx'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Each mistake ends in one line on standard error, exit code 2, and writes nothing."""
    run = edgecnn("export", *arguments, "-o", tmp_path / "out", cwd=tmp_path)
    assert told in one_line(run)
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback() -> None:
    """--debug prints where it failed, then the same line."""
    run = edgecnn("export", "edgecnn:nothing", "--data", "digits", "--debug")
    assert run.returncode == 2
    assert "Traceback" in run.stderr
    assert run.stderr.splitlines()[-1].startswith("edgecnn: unknown network 'nothing'")


def test_a_missing_accuracy_is_explained(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Without targets the column is empty, and a line below the table says why."""
    run = edgecnn("export", digits_checkpoint, "--input", "1x1x8x8", "--recipe", "x86", "-o", tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"Exported to {tmp_path}, measured")
    assert run.stdout.endswith("No score: there are no targets (a class number for each sample).\n")


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"random bytes that are no model at all" * 9])
def test_compare_tells_a_broken_file(board: ExportResult, tmp_path: Path, suffix: str, content: bytes) -> None:
    """An empty, zeroed or random file is named in one line."""
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(content)
    assert f"broken.{suffix}" in one_line(edgecnn("compare", board.files[0].path, broken, "--data", "digits"))


def test_compare_json_holds_what_scripts_rely_on(board: ExportResult) -> None:
    """The document of a comparison has exactly the promised keys."""
    reference, candidate = board.files[0].path, board.files[3].path
    run = edgecnn("compare", reference, candidate, "--data", "digits", "--samples", 100, "--json")
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert set(document) == {"reference", "candidate", *PARITY}
    assert document["n"] == 100
    assert document["top1_agreement"] > 0.97


def test_compare_without_samples_says_how_to_give_them(board: ExportResult) -> None:
    """Neither --data nor --input: one line with both."""
    path = board.files[0].path
    assert "--data digits, or --input" in one_line(edgecnn("compare", path, path))


def test_compress_from_the_shell(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The command writes a checkpoint and tells sizes and accuracies; a bad ratio is one line."""
    out = tmp_path / "small.safetensors"
    arguments = ["compress", digits_checkpoint, "--data", "digits", "--epochs", 2, "-o", out, "--json"]
    run = edgecnn(*arguments)
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert document["params"]["after"] < document["params"]["before"]
    assert out.is_file()
    assert "less than 1" in one_line(edgecnn(*arguments, "--ratio", 1.5))
    assert ".safetensors" in one_line(edgecnn(*arguments[:-2], tmp_path / "small.bin"))
