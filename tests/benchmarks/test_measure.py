"""Real measurements, as short as they can be."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, extremes_of, measure
from edgecnn.benchmarks.plan import left_out, measure_files, plan_cases
from edgecnn.datasets import DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.inputs import image_of
from edgecnn.measurement import Memory, Run
from edgecnn.normalization import Normalization

DATA = Path(__file__).parents[1] / "data"
SHARED_MODEL = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"


def test_a_measurement_is_complete(classifier: Path, brief: BenchmarkConfig) -> None:
    """Every figure is there: three processes, cold start, values, memory step by step, conditions, version."""
    found = measure(classifier, effort=brief)
    assert len(found.runs) == 3
    assert all(len(run.values_ns) >= 4 and run.load_ns > 0 and run.first_ns > 0 for run in found.runs)
    assert found.runtime == "litert"
    assert found.runtime_version
    assert found.interface == "CompiledModel"
    assert found.p50_ns
    assert found.score is None
    assert found.conditions["cores"] >= 1
    extremes = {"frequency_min_mhz", "frequency_max_mhz", "temperature_max_c", "load_1m_max", "throttled"}
    assert extremes <= set(found.conditions)
    assert found.size_bytes == classifier.stat().st_size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_is_the_workers_own(classifier: Path, brief: BenchmarkConfig) -> None:
    """The steps of the memory only grow, and a big parent process does not show in them."""
    ballast = np.ones(40_000_000)  # 320 MB, touched
    memory = measure(classifier, effort=replace(brief, processes=1)).runs[0].memory
    steps = [memory.python_bytes, memory.import_bytes, memory.load_bytes, memory.peak_bytes]
    assert all(step is not None for step in steps)
    assert steps == sorted(step or 0 for step in steps)
    assert (memory.peak_bytes or 0) < 200e6 < ballast.nbytes


def test_it_runs_on_the_cores_given(classifier: Path, brief: BenchmarkConfig) -> None:
    """The worker keeps to the cores it is given, and one that is not there is told."""
    found = measure(classifier, effort=replace(brief, processes=1, cpus=(0,)))
    assert found.conditions["cores_allowed"] == 1
    with pytest.raises(EdgecnnError, match=r"^[^\n]*cannot stay on the cores given for it"):
        measure(classifier, effort=replace(brief, processes=1, cpus=(4000,)))


def test_the_machine_is_looked_at_meanwhile(classifier: Path, brief: BenchmarkConfig) -> None:
    """In a process that takes longer than a second the machine's state is read between values too."""
    (run,) = measure(classifier, effort=replace(brief, processes=1, min_time_s=1.2)).runs
    assert run.states == (run.before, *run.during, run.after)
    assert len(run.during) == 1
    times_ns = [state["monotonic_ns"] for state in run.states]
    assert times_ns == sorted(times_ns)


@pytest.fixture
def throttles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Put a `vcgencmd` in the PATH that reports throttling so many times; returns the file with what is left."""

    def make(times: int) -> Path:
        left, program = tmp_path / "left", tmp_path / "vcgencmd"
        left.write_text(str(times))
        program.write_text(
            f"#!/bin/sh\nn=$(cat {left})\n"
            '[ "$n" -gt 0 ] || exec echo throttled=0x50000\n'
            f"echo $((n - 1)) >{left}; echo throttled=0x50005\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return left

    return make


def test_a_throttled_process_is_repeated(
    classifier: Path, brief: BenchmarkConfig, throttles: Callable[[int], Path]
) -> None:
    """After a pause the process is timed again, until the board no longer throttles; what it reported is said."""
    throttles(3)  # the state is read twice a process
    found = measure(classifier, effort=replace(brief, processes=1, cool_down_s=0.01))
    assert found.conditions["repeated_after_throttling"] == 2
    assert len(found.runs) == 1
    assert [state["throttled"] for state in found.runs[0].states] == [0x50000, 0x50000]
    assert any("under-voltage, throttling" in warning for warning in found.warnings)


def test_a_throttled_process_is_kept_unless_asked(
    classifier: Path, brief: BenchmarkConfig, throttles: Callable[[int], Path]
) -> None:
    """Without a pause to wait for, and on a board that never cools, the figures stay and bear the mark."""
    left = throttles(100)
    found = measure(classifier, effort=replace(brief, processes=1))
    assert found.conditions["repeated_after_throttling"] == 0
    assert found.conditions["throttled"] == 0x50005
    assert left.read_text().strip() == "98"
    found = measure(classifier, effort=replace(brief, processes=1, cool_down_s=0.01))
    assert found.conditions["repeated_after_throttling"] == 3


def test_what_fit_says_stands_beside(classifier: Path, brief: BenchmarkConfig) -> None:
    """The peak that `check_fit` predicts is part of the result, and near what is measured."""
    found = measure(classifier, effort=replace(brief, processes=1))
    assert found.peak_rss_bytes
    assert found.predicted_rss_bytes == pytest.approx(found.peak_rss_bytes, rel=0.1)


def test_the_accuracy_is_taken_with_data(classifier: Path, brief: BenchmarkConfig) -> None:
    """With a data set the result has its top-1 accuracy on the evaluation samples, and what was assumed for it."""
    digits = open_dataset("digits")
    found = measure(classifier, data=digits, effort=brief)
    assert found.score is not None
    assert found.score.n == len(digits.evaluation)
    assert "does not record its preprocessing" in found.assumptions[0]
    told = measure(classifier, data=DataSource(digits, normalization=Normalization.parse("unit")), effort=brief)
    assert told.assumptions == ()


def test_outputs_that_are_not_finite_are_said(
    classifier: Path, brief: BenchmarkConfig, add_runtime: Callable[..., str]
) -> None:
    """A file whose outputs hold NaN gets a warning, whatever its speed."""
    found = measure(classifier, runtime=add_runtime(on_invoke="self.x = self.x * np.nan"), effort=brief)
    assert any("NaN" in warning for warning in found.warnings)


def test_a_device_that_is_not_here_is_refused(classifier: Path) -> None:
    """Without a target there is no figure of another device; the message says how to get one."""
    with pytest.raises(EdgecnnError, match=r"is not connected.*--device host on the board"):
        measure(classifier, device="rpi4")
    with pytest.raises(EdgecnnError, match="did you mean 'rpi4'"):
        measure(classifier, device="rpi44")


def test_cases_are_each_with_each(classifier: Path) -> None:
    """Every file meets every runtime that runs it and every number of threads."""
    files = [classifier, DATA / "batch2.tflite"]
    cases = plan_cases(files, ["onnxruntime", "litert"], [1, 2])
    found = [(case.artifact.path.name, case.runtime, case.threads) for case in cases]
    assert found == [
        ("classifier.tflite", "litert", 1),
        ("classifier.tflite", "litert", 2),
        ("batch2.tflite", "litert", 1),
        ("batch2.tflite", "litert", 2),
    ]
    with pytest.raises(EdgecnnError, match=r"for \.tflite use: litert"):
        plan_cases(files, ["onnxruntime"])


def test_what_a_runtime_does_not_run_is_said(classifier: Path, brief: BenchmarkConfig) -> None:
    """A file that one of the given runtimes cannot run is measured with the others, and that is told."""
    results = list(measure_files([classifier], runtimes=["litert", "onnxruntime"], effort=replace(brief, processes=1)))
    (sentence,) = left_out(results, ["litert", "onnxruntime"])
    assert sentence == f"{classifier} was not measured with onnxruntime, which does not run .tflite"
    assert left_out(results, ["litert"]) == []


def test_the_conditions_are_the_worst_of_all_processes() -> None:
    """Frequency, load, temperature and throttling are summed up over both ends of every process; unknown is null."""
    quiet = {"frequencies_mhz": [1500.0, 600.0], "temperatures_c": {"cpu": 50.0}, "load_1m": 0.1, "throttled": 0}
    hot = {"frequencies_mhz": [1400.0], "temperatures_c": {"cpu": 71.0}, "load_1m": 1.5, "throttled": 0x50000}
    run = Run(
        import_ns=1,
        load_ns=2,
        first_ns=3,
        warmup=4,
        loops=1,
        values_ns=(5,),
        memory=Memory(),
        finite=True,
        before=quiet,
        after=hot,
    )
    assert extremes_of([run]) == {
        "frequency_min_mhz": 600.0,
        "frequency_max_mhz": 1500.0,
        "temperature_max_c": 71.0,
        "load_1m_max": 1.5,
        "throttled": 0x50000,
    }
    assert set(extremes_of([replace(run, before={}, after={})]).values()) == {None}


def test_everything_is_checked_before_the_first_measurement(classifier: Path, tmp_path: Path) -> None:
    """A broken file at the end of a list is told at once, not after an hour of measuring."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(classifier.read_bytes()[:1000])
    progressed = []
    with pytest.raises(EdgecnnError, match=r"broken\.tflite"):
        next(measure_files([classifier, broken], progress=lambda step, done=0, total=None: progressed.append(step)))
    with pytest.raises(EdgecnnError, match="unknown data set"):
        next(measure_files([classifier], data="digit", progress=lambda *_: progressed.append("")))
    other = DATA / "two_inputs.tflite"
    with pytest.raises(EdgecnnError, match=r"two_inputs\.tflite takes the inputs .*the data give"):
        next(measure_files([classifier, other], data="digits", progress=lambda *_: progressed.append("")))
    assert not progressed


def test_the_accuracy_is_taken_once(classifier: Path, brief: BenchmarkConfig) -> None:
    """Another number of threads does not run all samples again, and gets the same accuracy."""
    steps = []
    results = list(
        measure_files(
            [classifier],
            threads=[1, 2],
            data="digits",
            effort=replace(brief, processes=1),
            progress=lambda step, done=0, total=None: steps.append((step, done)),
        )
    )
    assert results[0].score is not None
    assert results[0].score == results[1].score
    accuracy_steps = [step for step in steps if step[0].startswith("accuracy")]
    assert len(accuracy_steps) == len(set(accuracy_steps))


def test_images_are_read_as_large_as_the_file_wants(classifier: Path) -> None:
    """The height and width come from the input, by the layout of the file."""
    assert image_of(Artifact.open(classifier)) == (1, 8, 8)


@pytest.mark.skipif(not SHARED_MODEL.is_file(), reason=f"no model at {SHARED_MODEL}")
def test_a_foreign_int8_file_is_measured(brief: BenchmarkConfig) -> None:
    """MLPerf Tiny's image classifier, which carries no metadata of ours, is measured as it is."""
    found = measure(SHARED_MODEL, effort=brief, threads=2)
    assert found.precision == "w8a8"
    assert found.p50_ns
