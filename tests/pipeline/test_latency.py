"""Compression by time: what a cut is predicted to save, and goals that are held against the file's estimate."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import called
import pytest
import torch
from ssh_server import SshServer
from torch import nn

import edgecnn
from edgecnn.compress.prune import size_of
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import NoCoefficientsError
from edgecnn.estimate.coefficients import to_toml
from edgecnn.pipeline import ExportResult
from edgecnn.pipeline.latency import model_for, predict_ns
from edgecnn.targets.ssh import CONFIG_VARIABLE


def predicted_ns(module: nn.Module, shape: tuple[int, ...], device: str = "rpi4") -> float:
    """Return what *module* is predicted to take on *device*."""
    return predict_ns(model_for(load_device(device)), size_of(module.eval(), shape).operators)


def file_of(board: ExportResult) -> Path:
    """Return the w8a8 TFLite file."""
    return next(
        one.artifact.path for one in board.files if one.artifact.format == "tflite" and one.artifact.precision == "w8a8"
    )


def test_a_network_and_its_file_are_predicted_alike(digits_checkpoint: Path, board: ExportResult) -> None:
    """What cuts are ranked by is near what the goal is held against; the file has a copy and conversions more."""
    network = edgecnn.build(str(digits_checkpoint))
    found = edgecnn.estimate_latency(file_of(board), "rpi4").p50_ns
    assert predicted_ns(network.module, (1, 8, 8)) == pytest.approx(found, rel=0.15)


def test_filters_save_time_by_whole_blocks() -> None:
    """12 filters take what 16 take, less what they write; 8 take half of the arithmetic."""
    shape = (64, 32, 32)
    whole, less, half = (predicted_ns(nn.Conv2d(64, count, 3, padding=1), shape) for count in (16, 12, 8))
    assert less > 0.93 * whole
    assert half < 0.6 * whole


def test_kinds_of_convolutions_cost_their_own() -> None:
    """A depthwise multiply-add costs more than one of a pointwise convolution, and a sum of branches costs time too."""
    shape = (64, 16, 16)
    depthwise, pointwise = nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 64, 1)
    macs = {kind: kind(torch.zeros(1, *shape)).numel() * kind.weight[0].numel() for kind in (depthwise, pointwise)}
    assert predicted_ns(depthwise, shape) / macs[depthwise] > predicted_ns(pointwise, shape) / macs[pointwise]

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(64, 64, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + x

    assert predicted_ns(Sum(), shape) > 1.02 * predicted_ns(pointwise, shape)


def test_a_latency_is_reached(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The file that comes of it is estimated to be as fast, and channel counts are what the kernels compute at once."""
    path = tmp_path / "fast.safetensors"
    before = edgecnn.compress_model(
        str(digits_checkpoint),
        path,
        edgecnn.Budget(
            latency_ns=125e3, latency_device="rpi4", search=edgecnn.Search(epochs_between=0, samples=64, layers=False)
        ),
        data="digits",
        training=edgecnn.Training(epochs=0),
    )
    assert before.before.latency is not None
    assert before.after.latency is not None
    assert before.before.latency.p50_ns > 125e3 >= before.after.latency.p50_ns
    assert before.to_json()["latency"]["after"]["device"] == "rpi4"
    assert not before.unmet
    convolutions = [one for one in edgecnn.build(str(path)).module.modules() if isinstance(one, nn.Conv2d)]
    assert all(one.out_channels % 8 == 0 for one in convolutions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latency", "12"], "'12' is not a duration; write it like 12ms, 800us or 1.5s"),
        (["--latency", "12ms"], "give --latency and --device together"),
        (["--device", "rpi4", "--macs", "0.5"], "give --latency and --device together"),
        (["--latency", "1ns", "--device", "rpi4"], "no network takes 1 ns on rpi4: to start one operator takes"),
        (["--latency", "12ms", "--device", "rpi44"], "rpi4"),
    ],
)
def test_a_latency_that_cannot_be_is_told_first(options: list[str], message: str, tmp_path: Path) -> None:
    """One line, before anything is read or trained."""
    out = tmp_path / "x.safetensors"
    run = called.edgecnn("compress", "edgecnn:digits-cnn", "--data", "digits", *options, "-o", str(out))
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_device_without_coefficients_says_how_to_get_them() -> None:
    """What no figure is known of cannot be asked for."""
    unknown = replace(load_device("rpi4"), latency=(), cores=())
    with pytest.raises(NoCoefficientsError, match="no latency coefficients for litert, w8a8, 1 thread"):
        model_for(unknown)


def test_a_budget_of_time_is_checked() -> None:
    """No time at all is refused."""
    with pytest.raises(EdgecnnError, match="more than no time"):
        edgecnn.Budget(latency_ns=0.0, latency_device="rpi4")


@pytest.mark.slow
def test_the_file_is_measured_on_a_board(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the estimate stands what the board took; one that is away costs the figure, not the network."""
    board = tmp_path / "board.toml"
    facts = f'title = "Board"\nkind = "linux"\narch = "{platform.machine()}"\n[sources]\narch = "uname -m"\n'
    borrowed = replace(model_for(load_device("rpi4")), cores=None, features=())
    board.write_text(facts + to_toml([borrowed]), encoding="utf-8")
    (tmp_path / "sshd").mkdir()
    server = SshServer(tmp_path / "sshd")
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))

    def compressed(name: str) -> edgecnn.CompressResult:
        budget = edgecnn.Budget(
            latency_ns=1e9,  # which it meets as it is: nothing is cut
            latency_device=str(board),
            measured_on=server.name,
        )
        training = edgecnn.Training(epochs=0)
        return edgecnn.compress_model(str(digits_checkpoint), tmp_path / name, budget, data="digits", training=training)

    try:
        found = compressed("a.safetensors")
    finally:
        server.close()
    assert found.measured is not None
    assert found.measured.p50_ns is not None
    assert found.to_json()["latency"]["measured"]["target"] == server.name
    assert not found.unmet
    away = compressed("b.safetensors")
    assert away.path.is_file()
    assert away.measured is None
    assert "not measured, so the estimate has to do" in away.warnings[-1]
