"""Ask TFLite Micro's own interpreter of files, each in a process of its own: it may crash on one.

    python tests/micro_oracle.py [--least] FILE[@ARENA]...

prints one JSON line a file: whether it runs, head and tail, why not; with @ARENA whether it runs in so many bytes, with
--least the smallest arena that it runs in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sys
import tempfile
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime  # here, so that the processes that are forked have it
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

AMPLE = 64 << 20
ALIGNMENT = 16
_SECONDS = 60
_SHORT_OF_MEMORY = ("Requested:", "missing:", "memory planning", "Too many buffers", "bytes required")


def run(content: bytes, arena_bytes: int) -> tuple[bool, str]:
    """Return whether *content* runs once, on zeros, in an arena of that size, and what the interpreter says."""
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            signal.alarm(_SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os._exit(_child(content, arena_bytes))
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        return status == 0, said.read().decode(errors="replace")


def _child(content: bytes, arena_bytes: int) -> int:
    try:
        interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)
        interpreter.print_allocations()
        for place in range(_input_count(content)):
            details = interpreter.get_input_details(place)
            with contextlib.suppress(ValueError, RuntimeError, KeyError, TypeError):
                interpreter.set_input(np.zeros(details["shape"], details["dtype"]), place)
        interpreter.invoke()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _input_count(content: bytes) -> int:
    return int(schema.Model.GetRootAs(content, 0).Subgraphs(0).InputsLength())


def ask(path: str, arena_bytes: int | None = None, *, least: bool = False) -> dict[str, Any]:
    """Return what the interpreter says of the file at *path*."""
    with open(path, "rb") as file:
        content = file.read()
    runs_in, said = (False, "") if arena_bytes is None else run(content, arena_bytes)
    if not runs_in and (not said.strip() or any(word in said for word in _SHORT_OF_MEMORY)):
        runs, said = run(content, AMPLE)
    else:
        runs = runs_in
    sizes = [int(size) for size in re.findall(r"Arena allocation (?:head|tail) (\d+) bytes", said)]
    lines = [line for line in said.splitlines() if line.strip() and "RecordingMicroAllocator" not in line]
    answer: dict[str, Any] = {"file": path, "runs": runs, "why": None if runs else " | ".join(lines[-3:])[-300:]}
    answer["head"], answer["tail"] = sizes if len(sizes) == 2 else (None, None)
    if arena_bytes is not None:
        answer["runs_in"] = runs_in
    if runs and least:
        low, high = sum(sizes) // 2 // ALIGNMENT, (sum(sizes) + AMPLE // 8) // ALIGNMENT
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if run(content, middle * ALIGNMENT)[0] else (middle + 1, high)
        answer["least"] = high * ALIGNMENT
    return answer


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, size = argument.partition("@")
        if name != "--least":
            print(json.dumps(ask(name, int(size) if size else None, least="--least" in sys.argv)), flush=True)
