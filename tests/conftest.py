"""What many tests need: a trained network and its exported files, made once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported, which reads it then. The networks are small, and threads that wait for each other on a busy
# machine take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from once import once
from runtime_fixtures import add_runtime, brief, classifier

if TYPE_CHECKING:
    from edgecnn.pipeline import ExportResult

__all__ = ["add_runtime", "brief", "classifier"]  # fixtures, which are found here

SHARED = Path(__file__).parents[2] / "shared"


def shared(relative: str) -> Path:
    """Return a file of the shared folder beside the checkout, or skip the test where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{relative} of the shared folder is not there")
    return path


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test measures goes into the history of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGECNN_HOME", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def digits_checkpoint(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A trained digits network as a checkpoint."""
    from edgecnn.pipeline import Training, Uniform, compress_model

    def make(folder: Path) -> Path:
        path = folder / "digits.safetensors"
        compress_model("edgecnn:digits-cnn", path, Uniform(0), data="digits", training=Training(epochs=12))
        return path

    return once(tmp_path_factory, worker_id, "checkpoint", make)


@pytest.fixture(scope="session")
def board(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> ExportResult:
    """The trained network exported by the recipe `board`: ONNX and TFLite, fp32 and w8a8."""
    from edgecnn.pipeline import export_model

    def make(folder: Path) -> ExportResult:
        return export_model(str(digits_checkpoint), folder, recipe="board", data="digits")

    return once(tmp_path_factory, worker_id, "board", make)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The wheel, built from the checkout with the build backend that is installed here."""

    def make(folder: Path) -> Path:
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            folder,
            Path(__file__).parents[1],
        ]
        built = subprocess.run(build, cwd=folder, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        (path,) = folder.glob("edgecnn-*.whl")
        return path

    return once(tmp_path_factory, worker_id, "wheel", make)


#: Fixtures that take long to make: a test that needs one is slow, whatever it does itself.
_SLOW_FIXTURES = {"board", "digits_checkpoint", "learned", "wheel", "installed", "image"}

#: Files whose tests are slow, most of them; a single one elsewhere bears the mark itself.
_SLOW_FILES = {
    "cli/test_bench.py",
    "cli/test_bench_ssh.py",
    "cli/test_compress.py",
    "cli/test_export.py",
    "cli/test_faults.py",
    "cli/test_history.py",
    "cli/test_report.py",
    "cli/test_sensitivity.py",
    "export/test_quantize.py",
    "pipeline/test_compress.py",
    "pipeline/test_export.py",
    "pipeline/test_export_failures.py",
    "pipeline/test_sparse.py",
    "pipeline/test_teachers.py",
    "report/test_browser.py",
    "targets/test_adb.py",
    "targets/test_boards.py",
    "targets/test_emulated.py",
    "targets/test_ssh.py",
    "test_checkpoint.py",
    "test_demo.py",
    "test_packaging.py",
    "test_docs.py",
    "test_errors_page.py",
    "test_user_code.py",
    "test_wheel.py",
}


#: Files that take longest, the first of them first: begun last, one would keep one process busy and the other waiting.
_LONGEST_FILES = (
    *("test_docs.py", "targets/test_emulated.py", "pipeline/test_compress.py", "pipeline/test_export.py"),
    *("targets/test_boards.py", "test_ci.py", "test_wheel.py", "cli/test_export.py", "pipeline/test_sparse.py"),
    *("nets/test_variants.py", "test_user_code.py", "benchmarks/test_calibrate.py", "cli/test_bench_ssh.py"),
)

#: Files whose tests look at time and memory: `make test` runs them alone.
_SERIAL_FILES = {"benchmarks/test_measure.py", "cli/test_bench.py"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m serial`, do not import the hundreds of files that have no such test."""
    if config.option.markexpr != "serial" or not collection_path.match("test_*.py"):
        return None
    is_serial = collection_path.relative_to(Path(__file__).parent).as_posix() in _SERIAL_FILES
    return None if is_serial or "mark.serial" in collection_path.read_text(encoding="utf-8") else True


def pytest_collection_finish() -> None:
    """Have the exporters remember, and the garbage collector leave alone what was imported, again and again otherwise.

    torch is not imported for this: what runs no test does without it, as the process that hands tests to two others.
    """
    if "torch" in sys.modules:
        from remembered import remember

        remember()
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow and of serial files, and those that need what is slow to make; begin with what is long."""
    here = Path(__file__).parent
    order = {file: place for place, file in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.relative_to(here).as_posix(), len(order)))
    for item in items:
        file = item.path.relative_to(here).as_posix()
        if file in _SERIAL_FILES:
            item.add_marker(pytest.mark.serial)
        if file in _SLOW_FILES or _SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
