"""The worker: runs or times one file with one runtime, in a process of its own, wherever a target starts it.

It reads its job, then the samples, from standard input and answers on standard output, in the frames of `frames`.
Goes to boards as one zip file (`runtimes.worker_program`): Python 3.9 or later, standard library, numpy, one runtime.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgecnn.runtimes.conditions import read_machine, read_state, resident_bytes
from edgecnn.runtimes.frames import read_message, write_message

Arrays = list[npt.NDArray[Any]]

_LOOK_NS = 1_000_000_000  # how often temperature and frequencies are looked at meanwhile


def main() -> None:
    """Do the one job that standard input brings; a failure is answered as `{"error": kind, "text": what}`."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a native library prints must not end up among the answers
    questions = sys.stdin.buffer
    message = read_message(questions)
    if message is None:
        return
    job = message[0]
    # onnxruntime would otherwise queue what it is used for, and look up a host to send it to after some seconds.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    step = "import"
    try:
        # Whatever the worker itself needs is done and loaded before memory is first read, so that it does not count
        # as the runtime's or the file's.
        if job.get("cpus"):
            step = "stay on the cores given for"
            os.sched_setaffinity(0, job["cpus"])
            step = "import"
        machine, before = read_machine(), read_state()
        memory = {"python_bytes": resident_bytes()}
        start_ns = time.perf_counter_ns()
        make = getattr(importlib.import_module("session"), job["session"])
        runtime = make(job["interface"]) if job.get("interface") else make()
        import_ns = time.perf_counter_ns() - start_ns
        memory["import_bytes"] = resident_bytes()
        if job["kind"] == "check":
            write_message(answers, {"version": runtime.version})
            return
        step = "load"
        start_ns = time.perf_counter_ns()
        session = runtime.open(job["model"], job["threads"])
        load_ns = time.perf_counter_ns() - start_ns
        memory["load_bytes"] = resident_bytes()
        opened = {
            "version": runtime.version,
            "interface": runtime.interface,
            "import_ns": import_ns,
            "load_ns": load_ns,
        }
        step = "run"
        if job["kind"] == "time":
            timed = {**time_session(session, job), "machine": machine, "before": before, "after": read_state()}
            memory["peak_bytes"] = resident_bytes("VmHWM")
            write_message(answers, {**opened, **timed, "memory": memory})
        elif job["kind"] == "profile":
            step = "profile"
            write_message(answers, {**opened, **profile_session(runtime, session, job)})
        else:
            write_message(answers, opened)
            answer_packs(session, job, questions, answers)
        session.close()
    except ImportError as error:
        write_message(answers, {"error": "missing" if step == "import" else step, "text": str(error)})
    except Exception as error:
        write_message(answers, {"error": step, "text": str(error) or type(error).__name__})


def profile_session(runtime: Any, session: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Return the operators as the runtime's profiler saw them, and the whole call with the profiler off.

    Calls with and without the profiler alternate, and each figure is the mean over the fastest tenth of its runs: other
    processes slow some runs down, and a mean over all of them would tell of those.
    """
    if not hasattr(runtime, "profile"):
        raise RuntimeError("this runtime has no profiler")
    session.write([_noise(detail) for detail in session.inputs])
    values: list[int] = []

    def plain() -> None:
        session.invoke()  # the profiled model has displaced its weights from the caches
        values.append(_time_calls(session, 1))

    runs = runtime.profile(job["model"], job["threads"], job["min_time_ns"], plain)
    kinds = [operator["kind"] for operator in runs[-1]]
    alike = [run for run in runs if [operator["kind"] for operator in run] == kinds]
    alike.sort(key=lambda run: sum(operator["ns"] for operator in run))
    faster, whole = alike[: -(-len(alike) // 10)], sorted(values)[: -(-len(values) // 10)]
    operators = [
        {**operator, "ns": sum(run[place]["ns"] for run in faster) / len(faster)}
        for place, operator in enumerate(runs[-1])
    ]
    return {"operators": operators, "whole_ns": sum(whole) / len(whole), "runs": len(runs)}


def answer_packs(session: Any, job: dict[str, Any], questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer each pack of samples with the outputs of each, until there are no more."""
    ins = _order(session.inputs, job["inputs"])
    outs = _order(session.outputs, job["outputs"])
    while True:
        message = read_message(questions)
        if message is None:
            return
        outputs = run_pack(session, [message[1][ins.index(index)] for index in range(len(ins))])
        write_message(answers, {}, [outputs[index] for index in outs])


def _order(details: list[dict[str, Any]], names: list[str]) -> list[int]:
    """Return for each of the file's *names* its index among *details*; as they come where the runtime names others."""
    known = [detail["name"] for detail in details]
    return [known.index(name) for name in names] if sorted(known) == sorted(names) else list(range(len(known)))


def run_pack(session: Any, pack: Arrays) -> Arrays:
    """Run the n samples of *pack*, one array `[n, ...]` an input, and return one array `[n, ...]` an output.

    A file with a batch of B takes B samples at a time; the last ones are filled up with copies of the last sample.
    """
    batch = session.inputs[0]["shape"][0] if session.inputs[0]["shape"] else 1
    count = len(pack[0])
    rows: list[Arrays] = []
    for start in range(0, count, batch):
        chunk = [array[start : start + batch] for array in pack]
        missing = batch - len(chunk[0])
        if missing:
            chunk = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in chunk]
        session.write(chunk)
        session.invoke()
        rows.append(session.read())
    return [_joined([row[index] for row in rows], batch)[:count] for index in range(len(rows[0]))]


def _joined(parts: Arrays, batch: int) -> npt.NDArray[Any]:
    with_batch = parts[0].ndim > 0 and parts[0].shape[0] == batch
    return np.concatenate(parts) if with_batch else np.stack(parts)


def time_session(session: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Return the first call, the warm-up and the values, in nanoseconds a call.

    Each value is the mean of `loops` calls that together last at least `min_value_ns`, so that the clock and the loop
    do not count (pyperf). Values are taken until there are `min_values` of them and `min_time_ns` has passed (TFLite's
    benchmark tool), at most for `max_time_ns`.
    """
    session.write([_noise(detail) for detail in session.inputs])
    parent = os.getppid()
    start_ns = time.perf_counter_ns()
    session.invoke()
    first_ns = time.perf_counter_ns() - start_ns
    finite = all(bool(np.isfinite(array).all()) for array in session.read() if array.dtype.kind == "f")
    gc.disable()
    warmup = warm_ns = 0
    while not warmup or warm_ns < job["warmup_ns"]:
        warm_ns += _time_calls(session, 1)
        warmup += 1
    loops = max(1, -(-job["min_value_ns"] * warmup // max(1, warm_ns)))
    values: list[int] = []
    during: list[dict[str, Any]] = []
    start_ns = looked_ns = time.perf_counter_ns()
    elapsed_ns = 0
    while elapsed_ns < job["max_time_ns"] and (elapsed_ns < job["min_time_ns"] or len(values) < job["min_values"]):
        values.append(_time_calls(session, loops) // loops)
        if time.perf_counter_ns() - looked_ns > _LOOK_NS:  # between two values, so that it is in none
            during.append(read_state())
            looked_ns = time.perf_counter_ns()
        elapsed_ns = time.perf_counter_ns() - start_ns
        if os.getppid() != parent:
            sys.exit("the program that started the measurement has ended")
    gc.enable()
    return {
        "first_ns": first_ns,
        "warmup": warmup,
        "loops": loops,
        "values_ns": values,
        "finite": finite,
        "during": during,
    }


def _time_calls(session: Any, loops: int) -> int:
    invoke = session.invoke
    start_ns = time.perf_counter_ns()
    for _ in range(loops):
        invoke()
    return time.perf_counter_ns() - start_ns


def _noise(detail: dict[str, Any]) -> npt.NDArray[Any]:
    """Return an input that is the same each time: floats in [-1, 1), small integers over their range, else zeros.

    Scattered by Knuth's multiplicative hash of the index, since `numpy.random` would add 6 MiB to the peak memory.
    """
    dtype, shape = np.dtype(detail["dtype"]), detail["shape"]
    scattered = np.arange(np.prod(shape, dtype=int), dtype=np.uint32) * np.uint32(2654435761)
    noise = np.zeros(len(scattered), dtype)  # indices and the like: 0 is always within bounds
    if dtype.kind == "f":
        noise[:] = scattered / np.float32(2**31) - 1
    elif dtype.itemsize == 1 and dtype.kind in "iu":
        noise[:] = (scattered >> 24).astype(np.uint8).view(dtype)
    return noise.reshape(shape)
