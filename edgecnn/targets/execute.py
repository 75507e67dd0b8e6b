"""Run an exported file in a worker: whatever breaks there becomes one line here."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.locks import PrivateFolder
from edgecnn.parsing import checked
from edgecnn.runtimes import interfaces_of, packages_of, runtime_class, runtime_for, worker_program
from edgecnn.runtimes.frames import Message, read_message, write_message
from edgecnn.targets import Process, Target, open_target
from edgecnn.units import format_bytes

Pack = Sequence[npt.NDArray[Any]]

#: How long one answer may take before the worker is given up.
PATIENCE_S = 600.0


class MissingRuntimeError(EdgecnnError):
    """A target lacks a runtime, or what that needs."""


class OutOfMemoryError(EdgecnnError):
    """A target has less memory than a file needs."""


class RefusedFileError(EdgecnnError):
    """A runtime cannot load or run a file, or dies of it; another of its interfaces may run it."""


@dataclass(frozen=True)
class Worker:
    """A worker at its job; *file*, *runtime* and *target* name it in errors."""

    process: Process
    file: str
    runtime: str
    target: Target

    def send(self, message: Mapping[str, Any], arrays: Pack = ()) -> None:
        """Send *message* and *arrays*; that a worker is gone shows in the next `receive`."""
        with contextlib.suppress(BrokenPipeError):
            write_message(self.process.stdin, message, arrays)

    def receive(self, patience_s: float = PATIENCE_S) -> Message:
        """Return the worker's next answer.

        Raises:
            EdgecnnError: it failed, died, is silent for *patience_s*, or says what is not ours.
        """
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self.process.kill()

        watchdog = threading.Timer(patience_s, give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            message = read_message(self.process.stdout)
        except ValueError as error:
            self.process.ending()  # where the connection was lost, this says so
            raise EdgecnnError(f"{self.file}: {self.runtime}'s worker sent an unreadable answer: {error}") from None
        finally:
            watchdog.cancel()
        if late.is_set():
            raise EdgecnnError(f"{self.file}: {self.runtime} did not answer within {patience_s:.0f} s; it was stopped")
        if message is None:
            raise self._death(self.process.ending())
        answer = checked(message[0], f"{self.file}: the answer of the {self.runtime} worker")
        if "error" in answer:
            raise self._failure(str(answer["error"])[:40], str(answer.get("text")))
        return message

    def _death(self, how: str) -> EdgecnnError:
        if how == "signal 9, SIGKILL":
            free = self.target.free_bytes
            more = f" than the {format_bytes(free)} that were free" if free else ""
            return OutOfMemoryError(
                f"{self.file}: {self.runtime} was killed ({how}), probably because memory ran out: it needs more "
                f"memory{more} on {self.target.name}"
            )
        if how == "signal 4, SIGILL":
            return EdgecnnError(
                f"{self.file}: this build of {self.runtime} uses instructions that {self.target.name} lacks "
                f"({how}); install one for its processor"
            )
        if how.startswith("signal"):
            return RefusedFileError(
                f"{self.file} crashed {self.runtime} ({how}); the file may be broken: export it again"
            )
        return EdgecnnError(f"{self.file}: the worker of {self.runtime} ended before its answer ({how})")

    def _failure(self, step: str, text: str) -> EdgecnnError:
        text = " ".join(text.split())[:400]
        if step == "missing":
            return missing_runtime(self.runtime, self.target, text)
        return RefusedFileError(f"{self.file}: {self.runtime} cannot {step} it: {text}")


def missing_runtime(runtime: str, target: Target, text: str) -> MissingRuntimeError:
    """Return the error for a *runtime* that *target* lacks, *text* being what Python said, with the line to type.

    Args:
        runtime: its name.
        target: where it is missing.
        text: what Python said.
    """
    # For a library of another architecture the loader says that a file which it names by its path is not there.
    if "wrong ELF" in text or re.search(r"/\S+: cannot open shared object file", text):
        text += "; the installed package is for another processor"
    packages = packages_of(runtime)
    if target.name == "local" or not packages:
        where = "" if target.name == "local" else f" on {target.name}"
        return MissingRuntimeError(f"{runtime} is not installed{where} ({text}): {runtime_class(runtime).install}")
    line = target.install_line(packages)
    return MissingRuntimeError(
        f"{runtime} is not installed on {target.name} ({text}): {line}, or edgecnn bench --install"
    )


def check_runtime(runtime: str, target: Target, *, install: bool = False) -> None:
    """Start *runtime* on *target*, with no file, so that a missing one is known before anything is measured.

    Args:
        runtime: its name.
        target: open.
        install: whether to install it there, where it is missing.

    Raises:
        EdgecnnError: it is not there and *install* is off, or it cannot be installed.
    """
    try:
        with _worker(runtime, target, runtime, {"kind": "check"}) as worker:
            worker.receive()
    except MissingRuntimeError:
        if not install:
            raise
        target.install(packages_of(runtime))
        check_runtime(runtime, target)


@contextlib.contextmanager
def started_worker(
    artifact: Artifact,
    job: Mapping[str, Any],
    *,
    runtime: str | None,
    threads: int,
    target: Target | None,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[Worker, Mapping[str, Any]]]:
    """Start a worker on *target* (None: this machine), give it its *job*, and end it with the `with`.

    Yields the worker and its first answer: the file is loaded then, and timed where that is the job. A file that one
    interface of the runtime refuses is given to the next one, in a process of its own, so that time and memory are
    those of the interface that runs it; `refused` in the answer is then the error of the first one.

    Args:
        artifact: the file.
        job: `kind` (`time`, `run`, `check`) and what belongs to it, see `runtimes.worker`.
        runtime: its name; None: the usual one of the file's format.
        threads: of the runtime.
        target: open; None: this machine.
        patience_s: how long the first answer may take.

    Raises:
        EdgecnnError: no such runtime, or not one for this file; or as `Worker.receive` does, the last interface's.
    """
    name = runtime_for(artifact.format, runtime)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(open_target()) if target is None else target
        given = {"model": place.push(*artifact.files), "threads": threads, **job}
        refusals: list[RefusedFileError] = []
        for interface in interfaces_of(name):
            with contextlib.ExitStack() as trial:
                chosen = given if interface is None else {**given, "interface": interface}
                worker = trial.enter_context(_worker(str(artifact.path), place, name, chosen))
                try:
                    answer = dict(worker.receive(patience_s)[0])
                except RefusedFileError as error:
                    refusals.append(error)
                    continue
                except EdgecnnError:
                    if refusals:
                        continue  # the interface tried in its place cannot even begin
                    raise
                stack.enter_context(trial.pop_all())
            yield worker, answer | ({"refused": str(refusals[0])} if refusals else {})
            return
        raise refusals[-1]


@contextlib.contextmanager
def _worker(file: str, place: Target, name: str, job: Mapping[str, Any]) -> Iterator[Worker]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(PrivateFolder()))
        program = folder / f"worker-{name}.pyz"
        program.write_bytes(worker_program(name))
        process = stack.enter_context(place.run(place.push(program)))
        worker = Worker(process, file, name, place)
        worker.send({"session": runtime_class(name).__name__, **job})
        yield worker


def run_file(
    file: Path | str | Artifact,
    packs: Iterable[Pack],
    *,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
) -> Iterator[list[npt.NDArray[Any]]]:
    """Run samples through an exported file in one worker process, and yield the outputs of each pack.

    Memory does not grow with the number of packs. Close the iterator if it is not read to its end.

    Args:
        file: an exported file, or its path.
        packs: one array `[n, ...]` for each input, in the file's dtype and layout.
        runtime: `litert` or `onnxruntime`; None: the usual runtime of the file's format.
        threads: number of threads of the runtime.
        target: an open target; None: this machine.

    Raises:
        EdgecnnError: a pack does not suit the file, the runtime is missing, or it fails or dies on the file.

    Example:
        >>> import numpy as np
        >>> samples = np.zeros((4, 8, 8, 1), np.float32)
        >>> for (scores,) in edgecnn.run_file("classifier.tflite", [[samples]]):
        ...     print(scores.shape)
        (4, 10)
    """
    artifact = Artifact.open(file)
    job = {
        "kind": "run",
        "inputs": [spec.name for spec in artifact.inputs],
        "outputs": [spec.name for spec in artifact.outputs],
    }
    with started_worker(artifact, job, runtime=runtime, threads=threads, target=target) as (worker, _):
        for pack in packs:
            _check(artifact, pack)
            worker.send({}, pack)
            yield worker.receive()[1]


def _check(artifact: Artifact, pack: Pack) -> None:
    given = [(array.dtype.name, tuple(array.shape[1:])) for array in pack]
    taken = [(spec.dtype, tuple(spec.shape[1:])) for spec in artifact.inputs]
    if given == taken:
        return

    def text(kinds: list[tuple[str, tuple[int, ...]]]) -> str:
        return ", ".join(f"{dtype} [n, {', '.join(map(str, shape))}]" for dtype, shape in kinds)

    raise EdgecnnError(f"{artifact.path} takes {text(taken)} but was given {text(given)}")
