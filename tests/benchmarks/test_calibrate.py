"""Calibration: synthetic networks, measured where the board is."""

from __future__ import annotations

import json
import platform
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from called import edgecnn

from edgecnn.benchmarks.calibrate import Timed, calibrate, coefficients_file, fit_calibration
from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.benchmarks.predict import predict_files
from edgecnn.device import LATENCY_KINDS, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate.fitting import amounts_of, prior_of
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.export.synthetic import CHAINS, family_of, write_chain, write_synthetic
from edgecnn.formats import read_graph

Writer = Callable[[Path, int, str], Path]
FAMILIES = tuple(dict.fromkeys(family_of(number) for number in range(40)))
MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
BRIEF = BenchmarkConfig(processes=1, warmup_s=0, min_time_s=0, min_values=3)


def works_of(number: int, precision: str, folder: Path, write: Writer = write_synthetic) -> list[Work]:
    """Return the operators of a file that is made to calibrate with."""
    path = write(folder / f"{number}.{precision}.tflite", number, precision)
    found = graph_works(read_graph(path))
    path.unlink()
    assert {of for of, _ in found} == {precision}
    return [work for _, work in found]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_synthetic, write_chain])
@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_files_are_the_same_at_both_precisions(tmp_path: Path, number: int, write: Writer) -> None:
    """The float and the integer file of one number do the same work, and no operator of the second is float.

    The integer file converts its input first, and pads in operators of its own where float kernels do it themselves.
    """
    pairs = [
        [(work.kind, work.macs) for work in works_of(number, precision, tmp_path, write) if work.kind != "padding"]
        for precision in ("fp32", "w8a8")
    ]
    assert pairs[0] == pairs[1][1:]


def test_chains_show_every_kind(tmp_path: Path) -> None:
    """The chains of one size have every kind of operator between them, but for those nobody has named."""
    kinds = {work.kind for number in range(CHAINS // 3) for work in works_of(number, "w8a8", tmp_path, write_chain)}
    assert kinds == set(LATENCY_KINDS) - {"other"}


@pytest.mark.slow
def test_families_are_held_out_whole(tmp_path: Path) -> None:
    """Where one family alone takes twice as long as its operators, the band says so."""
    timed = simulated(Blocks(), {"dense": 2.0})
    assert fit_calibration("board", "fp32", 1, timed, "there", tmp_path / "board.toml").model.high > 1.5
    even = simulated(Blocks(), {})
    assert fit_calibration("board", "fp32", 1, even, "there", tmp_path / "board.toml").model.high < 1.1


@pytest.mark.slow
def test_blocks_of_channels_are_found(tmp_path: Path) -> None:
    """On a machine whose kernels compute 64 by 64 channels at once, calibration finds that out."""
    timed = simulated(Blocks(64, 64), {})
    found = fit_calibration("board", "fp32", 1, timed, "there", tmp_path / "board.toml")
    assert (found.model.input_block, found.model.output_block) == (64, 64)
    assert found.median_error < 0.02
    assert found.to_json()["networks"] == 20


@cache
def float_works(number: int) -> tuple[Work, ...]:
    """Return the works of a synthetic network, written once for all simulated machines."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(works_of(number, "fp32", Path(folder)))


def simulated(blocks: Blocks, slower: dict[str, float]) -> list[Timed]:
    """Return what calibration measures on a machine of such *blocks* that is *slower* at some families."""
    costs = prior_of("litert", "fp32") * 0.01
    found = []
    for number in range(20):
        works, family = float_works(number), family_of(number)
        latency_ns = float(amounts_of(works, "fp32", blocks) @ costs) * slower.get(family, 1.0)
        found.append(Timed(works, latency_ns, family))
    return found


@pytest.mark.slow
def test_a_calibrated_board_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a calibration the device's file has coefficients, the rest of it untouched, and files are estimated."""
    monkeypatch.setattr("edgecnn.benchmarks.calibrate.CHAINS", CHAINS // 3)  # of one size: each starts a process
    board = tmp_path / "board.toml"
    text = f'# mine\ntitle = "Board"\nkind = "linux"\narch = "{platform.machine()}"\n[sources]\narch = "uname -m"\n'
    board.write_text(text, encoding="utf-8")
    (done,) = calibrate(str(board), target="local", precisions=("fp32",), networks=12, effort=BRIEF)
    assert done.path == board
    assert board.read_text(encoding="utf-8").startswith(text)
    assert load_device(str(board)).latency == (done.model,)
    assert 0 < done.model.low < 1 < done.model.high
    (told,) = predict_files([MODEL], str(board))
    assert told.to_json()["fit"] is None  # the file says nothing of its memory
    assert told.estimate is not None
    assert told.estimate.low_ns < told.estimate.p50_ns < told.estimate.high_ns
    assert "measured by edgecnn devices calibrate on local" in told.estimate.rests_on[0]


def test_shipped_profiles_are_copied_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coefficients of a shipped device go to the user's own folder."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    assert coefficients_file("rpi4:4gb") == tmp_path / "devices/rpi4.toml"


@pytest.mark.parametrize(
    ("device", "target", "said"),
    [
        ("rpi4", None, "where is rpi4"),
        ("host", "local", "devices probe local"),
        ("rpi44", "local", "did you mean 'rpi4'"),
        ("stm32h7a3", "local", "stm32h7a3 is cortex-m7"),
    ],
)
def test_a_board_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, target: str | None, said: str
) -> None:
    """Nothing is measured, and nothing written, where the target does not lead to the device."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    with pytest.raises(EdgecnnError, match=said):
        calibrate(device, target=target, networks=12, effort=BRIEF)
    assert list(tmp_path.iterdir()) == []


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `edgecnn bench` on the classifier."""
    return edgecnn("bench", str(MODEL), *arguments)


def test_bench_of_a_board_elsewhere_is_an_estimate(tmp_path: Path) -> None:
    """Without a target the JSON says `estimated`, has a band, and null for everything that only a measurement tells."""
    done = bench("--device", "rpi4", "--json", "-o", str(tmp_path / "told.json"))
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert json.loads((tmp_path / "told.json").read_text())["results"] == [result]
    assert (result["method"], result["runtime"], result["threads"]) == ("estimated", "litert", 4)
    assert 0 < result["low_ns"] < result["p50_ns"] < result["high_ns"]
    assert result["p90_ns"] is result["load_ns"] is result["peak_rss_bytes"] is result["accuracy"] is None
    assert result["fit"]["fits"] is True


def test_the_table_of_estimates_is_marked(tmp_path: Path) -> None:
    """The table says that nothing was measured, what it rests on, and how to measure."""
    done = bench("--device", "rpi4")
    assert done.returncode == 0, done.stderr
    assert "Estimated for rpi4, not measured" in done.stdout
    assert "XNNPACK" in done.stdout
    assert "--device rpi4 --target ssh://USER@BOARD" in done.stdout
