"""Many runs in one folder: what is done stays done, whoever dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from marking_runs import MarkingRun, marks_of

from edgecnn.errors import EdgecnnError
from edgecnn.study.results import Result, read_result
from edgecnn.study.runner import Workers, do_runs, format_left

PROGRAM = Path(__file__).parents[1] / "marking_runs.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROGRAM.parent)}


def program(folder: Path, *runs: str, workers: int = 1, dask: str = "") -> list[str]:
    """Return the words that do *runs* (`NAME:HOW`) in a process of their own."""
    return [sys.executable, str(PROGRAM), str(folder), str(workers), dask, *runs]


def finished(folder: Path, *runs: str, workers: int = 1, dask: str = "") -> dict[str, str]:
    """Do runs in a process of their own, and return what it says of each."""
    words = program(folder, *runs, workers=workers, dask=dask)
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    """A second command does what is missing, and gives all results in the order that was asked for."""
    do_runs([MarkingRun("a")], tmp_path)
    results = do_runs([MarkingRun("b"), MarkingRun("a")], tmp_path)
    assert [(result.name, result.figures["times"]) for result in results] == [("b", 1), ("a", 1)]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".marks", ".marks"]


def test_a_failed_run_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    """An error of ours or of a library becomes the result; only `retry` does the run again."""
    runs = [MarkingRun("a", "fail"), MarkingRun("b", "raise"), MarkingRun("c")]
    for _ in range(2):
        results = do_runs(runs, tmp_path)
        assert [result.error for result in results] == [
            "the network does not fit the data",
            "ValueError: not foreseen",
            None,
        ]
    assert marks_of(tmp_path, "a") == 1
    do_runs(runs, tmp_path, retry=True)
    assert [marks_of(tmp_path, name) for name in "abc"] == [2, 2, 1]


def test_a_network_with_a_file_that_failed_is_tried_again(tmp_path: Path) -> None:
    """A deployed network counts as done with one file missing; `retry` makes its files again."""
    files = [{"file": "a.onnx", "failed": None}, {"file": "a.tflite", "failed": "the converter raised KeyError"}]
    Result("a", {"how": "done"}, {"files": files}).write(tmp_path)
    (kept,) = do_runs([MarkingRun("a")], tmp_path)
    assert kept.failed_files == ("a.tflite: the converter raised KeyError",)
    (again,) = do_runs([MarkingRun("a")], tmp_path, retry=True)
    assert again.is_complete


def test_progress_names_the_run_and_the_time_left(tmp_path: Path) -> None:
    """From the second run on the progress has the time that is left, by what the first ones took."""
    said: list[str] = []
    do_runs([MarkingRun(name) for name in "ab"], tmp_path, progress=lambda step, *_: said.append(step))
    assert said == ["run 1 of 2, a, under a minute left: training", "run 2 of 2, b, under a minute left: training"]
    assert [format_left(seconds) for seconds in (5, 119, 3000, 5399, 7300)] == [
        "under a minute",
        "about 2 min",
        "about 50 min",
        "about 90 min",
        "about 2 h",
    ]


def test_a_killed_runner_goes_on(tmp_path: Path) -> None:
    """Killed in its second run, the same command does that one again and leaves the first as it is."""
    runs = ("a:done", "b:die once", "c:done")
    killed = subprocess.run(program(tmp_path, *runs), env=ENVIRONMENT, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -9
    assert finished(tmp_path, *runs) == {"a": "1", "b": "2", "c": "1"}


def test_a_run_that_always_kills_its_process_fails_in_the_end(tmp_path: Path) -> None:
    """After three deaths a run counts as failed, and the others go on."""
    for _ in range(3):
        subprocess.run(program(tmp_path, "a:die"), env=ENVIRONMENT, capture_output=True, timeout=120, check=False)
    results = do_runs([MarkingRun("a", "die"), MarkingRun("b")], tmp_path)
    assert results[0].error is not None
    assert results[0].error.startswith("its process died 3 times")
    assert results[1].figures == {"times": 1}


def test_two_runners_share_a_folder(tmp_path: Path) -> None:
    """Each run is done once, whichever of two runners gets it; both end, and all results are there."""
    runs = [f"{name}:sleep" for name in "abcdef"]
    both = [
        subprocess.Popen(program(tmp_path, *order), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        for order in (runs, runs[::-1])
    ]
    outputs = [one.communicate(timeout=120)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert [marks_of(tmp_path, name) for name in "abcdef"] == [1] * 6
    pids = {(tmp_path / f"{name}.marks").read_text() for name in "abcdef"}
    assert len(pids) == 2
    assert "a 1" in "".join(outputs)


@pytest.mark.slow
def test_a_worker_process_that_dies_is_replaced(tmp_path: Path) -> None:
    """With two worker processes, the run whose worker is killed is done again, and all others once or again."""
    pytest.importorskip("joblib")
    said = finished(tmp_path, "a:done", "b:die once", "c:done", "d:fail", "e:die", workers=2)
    assert said["b"] == "2"
    assert said["d"] == "the network does not fit the data"
    assert said["e"].startswith("its process died 3 times")
    assert {"a", "c"} <= set(said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "a result of schema 2, and this edgecnn reads 1"),
        ({"identity": {"how": "fail"}}, "a result with how fail, not done"),
        ({"name": 3}, "name: expected str, found 3"),
        (None, "not JSON"),
    ],
)
def test_a_result_of_another_version_or_run_is_refused(
    tmp_path: Path, change: dict[str, object] | None, message: str
) -> None:
    """Nothing is overwritten: the error names the file and says what to do, before any run begins."""
    Result("a", {"how": "done"}, {"times": 1}).write(tmp_path)
    path = tmp_path / "a.json"
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    before = path.read_text()
    with pytest.raises(EdgecnnError) as raised:
        do_runs([MarkingRun("b"), MarkingRun("a")], tmp_path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert path.read_text() == before
    assert read_result(tmp_path, "b") is None


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_dask_scheduler_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the address; no run is begun."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("edgecnn.study.runner._DASK_WAIT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(EdgecnnError, match=f"no dask scheduler at '{address}'"):
        do_runs([MarkingRun("a")], tmp_path, workers=Workers(dask=address))
    assert not (tmp_path / "a.marks").exists()


@pytest.mark.slow
def test_a_single_dask_worker_does_the_runs(tmp_path: Path) -> None:
    """Runs are the worker's, not this process's: what a run kills is the worker, and a new one goes on."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        do_runs([MarkingRun("a")], tmp_path, workers=Workers(dask=cluster.scheduler_address))
    assert int((tmp_path / "a.marks").read_text()) != os.getpid()


@pytest.mark.slow
def test_dask_workers_do_runs_and_one_of_them_is_killed(tmp_path: Path) -> None:
    """Two local workers share the runs; the run that kills its worker is done by the other."""
    pytest.importorskip("distributed")
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    started = [subprocess.Popen([*scheduler, "--no-dashboard"], **quiet)]  # type: ignore[call-overload]
    try:
        started += [subprocess.Popen([*worker, "--no-dashboard"], **quiet) for _ in range(2)]  # type: ignore[call-overload]
        said = finished(tmp_path, "a:sleep", "b:die once", "c:sleep", "d:fail", dask=address)
        time.sleep(0.2)
        assert sum(one.poll() is not None for one in started) == 1  # the worker that was killed
    finally:
        for one in started:
            one.kill()
            one.wait()
    assert said == {"a": "1", "b": "2", "c": "1", "d": "the network does not fit the data"}
