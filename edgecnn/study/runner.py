"""Do many runs, in turn or at once, in a folder that remembers what is done.

Each run ends as one JSON file, with figures or with an error. A run that was killed is begun again, and goes on from
what it keeps itself. Several runners may work in one folder: a run is locked while a process is at it, and the kernel
frees the lock of one that dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import edgecnn
from edgecnn.errors import EdgecnnError, library_error, require
from edgecnn.files import check_writable, write_whole
from edgecnn.locks import InUseError, Lock
from edgecnn.progress import Progress, silent
from edgecnn.study.results import Result, file_of, read_result

_MOST_DEATHS = 3  # processes that may die in a run before it counts as failed
_DASK_WAIT_S = 10


class Run(Protocol):
    """One thing to do; it can be pickled, as worker processes are sent it."""

    @property
    def name(self) -> str:
        """The stem of its files."""

    @property
    def cost(self) -> float:
        """How long it takes, beside the others."""

    def identity(self) -> Mapping[str, Any]:
        """Return what its figures depend on, in JSON's types."""

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Do it and return its figures; what it keeps lies in *folder* under its name."""


@dataclass(frozen=True)
class Workers:
    """Where runs are done."""

    count: int = 1  # processes on this machine; 1: this one
    dask: str | None = None  # address of a scheduler, whose workers do them; they share the folder


def do_runs(
    runs: Sequence[Run],
    folder: Path,
    *,
    workers: Workers | None = None,
    retry: bool = False,
    progress: Progress = silent,
) -> list[Result]:
    """Do those of *runs* that have no result in *folder*, and return the results of all that have one.

    A run that another runner is at is left to it, and missing in the list.

    Args:
        runs: what to do.
        folder: made where it is missing.
        workers: processes to do it in; None: this one.
        retry: whether runs of which something failed are done again.
        progress: told how far all of them are, with the time left.

    Raises:
        EdgecnnError: results in the folder are of other runs or another version, or a dask scheduler is not there or
            goes away.
    """
    workers = workers or Workers()
    for run in runs:
        result = read_result(folder, run.name, run.identity())
        if retry and result is not None and not result.is_complete:
            file_of(folder, run.name).unlink()
        check_writable(file_of(folder, run.name))
    left = [run for run in runs if read_result(folder, run.name) is None]
    clock = _Clock({run.name: run.cost for run in left})
    if workers.count == 1 and workers.dask is None:
        for run in left:
            attempt(run, folder, clock.within(run.name, progress))
            clock.finish(run.name)
    elif left:
        _spread(left, folder, workers, clock, progress)
    return [result for run in runs if (result := read_result(folder, run.name)) is not None]


def attempt(run: Run, folder: Path, progress: Progress = silent) -> str:
    """Do one run unless it is done or another process is at it; return its name.

    Whatever the run raises becomes its result, so that others go on; an interruption is passed on.
    """
    try:
        lock = Lock(folder / f"{run.name}.lock")
    except InUseError:
        return run.name
    with lock:
        if read_result(folder, run.name) is None:
            _attempt_locked(run, folder, progress)
    return run.name


def _attempt_locked(run: Run, folder: Path, progress: Progress) -> None:
    begun = folder / f"{run.name}.begun"  # how often it was; it stays where the process dies
    times = _read_count(begun)
    began_s = time.monotonic()
    figures: Mapping[str, Any] = {}
    error: str | None = None
    if times >= _MOST_DEATHS:
        error = f"its process died {times} times (killed, or out of memory); --retry tries again"
    else:
        write_whole(begun, f"{times + 1}\n")
        try:
            figures = run.execute(folder, progress)
        except EdgecnnError as raised:
            error = str(raised)
        except KeyboardInterrupt:
            begun.unlink(missing_ok=True)
            raise
        except Exception as raised:
            error = library_error(raised)
    seconds = round(time.monotonic() - began_s, 3)
    Result(run.name, run.identity(), figures, error, seconds, edgecnn.__version__).write(folder)
    begun.unlink(missing_ok=True)


def _read_count(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii")[:10])
    return 0


def _spread(runs: Sequence[Run], folder: Path, workers: Workers, clock: _Clock, progress: Progress) -> None:
    """Do *runs* in worker processes; where one dies, its run is begun again until it has died too often."""
    joblib = require("joblib", "study")
    left = list(runs)
    # Each round that breaks off leaves a death more in some run's count, so this ends.
    for _ in range(_MOST_DEATHS * len(runs) + 1):
        progress(clock.describe(f"{len(left)} runs at once"), clock.done, len(runs))
        try:
            with _backend(joblib, workers):
                done = joblib.Parallel(n_jobs=workers.count, return_as="generator_unordered")(
                    joblib.delayed(attempt)(run, folder) for run in left
                )
                for name in done:
                    clock.finish(name)
                    progress(clock.describe(f"{name} ended"), clock.done, len(runs))
            return
        except _broken_pool() as error:
            left = [run for run in left if read_result(folder, run.name) is None]
            progress(clock.describe(f"a worker died ({type(error).__name__})"), clock.done, len(runs))
            if not left:
                return


@contextmanager
def _backend(joblib: Any, workers: Workers) -> Iterator[None]:
    """Have joblib use this machine's processes, or the workers of a dask scheduler.

    Raises:
        EdgecnnError: the scheduler is not there, or goes away.
    """
    if workers.dask is None:
        with joblib.parallel_config(backend="loky"):
            yield
        return
    distributed = require("distributed", "dask")
    try:
        client = distributed.Client(workers.dask, timeout=_DASK_WAIT_S)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgecnnError(f"no dask scheduler at '{workers.dask}': {reason}") from None
    try:
        with joblib.parallel_config(backend=_dask_backend()(wait_for_workers_timeout=_DASK_WAIT_S)):
            yield
    except Exception as error:
        if isinstance(error, _broken_pool()):
            raise
        raise EdgecnnError(
            f"the dask scheduler at '{workers.dask}' went away ({type(error).__name__}); what is done is kept: give "
            "the same command again to go on"
        ) from error
    finally:
        with suppress(Exception):
            client.close(timeout=1)


def _dask_backend() -> Any:
    """Return joblib's backend for dask, with which a single worker does the runs as well.

    Where joblib is told of one process, it computes in this one: also where the other workers have not come yet.
    """
    usual: Any = require("joblib._dask", "dask").DaskDistributedBackend

    class Backend(usual):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            """Return how many runs are handed out at once, two at least."""
            return max(2, int(super().effective_n_jobs(n_jobs)))

    return Backend


def _broken_pool() -> type[BaseException]:
    terminated: type[BaseException] = require("joblib.externals.loky.process_executor", "study").TerminatedWorkerError
    return terminated


class _Clock:
    """How long the runs that are left will take, by what those that are done took."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.costs = dict(costs)
        self.finished: set[str] = set()
        self.began_s = time.monotonic()

    @property
    def done(self) -> int:
        """How many runs have ended."""
        return len(self.finished)

    def finish(self, name: str) -> None:
        """Note that a run has ended."""
        self.finished.add(name)

    def describe(self, what: str, fraction: float = 0.0, running: str | None = None) -> str:
        """Return *what* with the time left; *fraction* of the run that is *running* is done."""
        total = sum(self.costs.values())
        done = sum(self.costs[name] for name in self.finished if name in self.costs)
        done += fraction * self.costs.get(running or "", 0.0)
        if not 0 < done < total:
            return what
        left_s = (time.monotonic() - self.began_s) * (total - done) / done
        return f"{what}, {format_left(left_s)} left"

    def within(self, name: str, progress: Progress) -> Progress:
        """Return the progress of one run, which names it, its place and the time left for all."""
        place = f"run {self.done + 1} of {len(self.costs)}, {name}"

        def show(step: str, done: int = 0, total: int | None = None) -> None:
            fraction = done / total if total and step == "training" else 0.0
            progress(f"{self.describe(place, fraction, name)}: {step}", done, total)

        return show


def format_left(seconds: float) -> str:
    """Return a duration as one says it, in steps that rarely change.

    Example:
        >>> format_left(40), format_left(700), format_left(10000)
        ('under a minute', 'about 10 min', 'about 3 h')
    """
    minutes = seconds / 60
    if minutes < 1:
        return "under a minute"
    if minutes < 90:
        return f"about {round(minutes, -1) if minutes >= 10 else round(minutes):.0f} min"
    return f"about {minutes / 60:.0f} h"
