"""How `edgecnn bench` shows its results: one table, and below it what its figures contain and rest on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecnn.cli.table import print_table, say, warn
from edgecnn.measurement import Measurement, Memory
from edgecnn.units import format_bytes, format_count, format_ns, format_share

_COLUMNS = (
    *("file", "runtime", "version", "threads", "p50", "p90", "p99", "calls/s"),
    *("load", "first call", "peak RSS", "size", "top-1", "95 %, n"),
)
_RIGHT = tuple(range(3, 14))
_SPARE = (2, 7, 13, 9, 8, 6, 11, 5, 10)  # version, calls/s, interval, first call, load, p99, size, p90, peak RSS

#: A figure in a sentence, with its unit.
_FIGURE = re.compile(r"\d[\d.e+]*( (?:ns|µs|ms|s|%))?")


def print_results(results: Sequence[Measurement]) -> None:
    """Print one table of all *results*, the fastest first, and below it what its figures contain and rest on."""
    from edgecnn.benchmarks.gains import missing_gains

    fastest = sorted(results, key=lambda result: result.p50_ns or 0.0)
    first = fastest[0]
    title = f"{first.method.capitalize()} on {first.device} ({first.conditions.get('cpu') or first.target})"
    print_table(title, _COLUMNS, [_row(result, fastest) for result in fastest], right=_RIGHT, spare=_SPARE)
    for sentence in (*_means(fastest), *_memory(fastest), *_assumptions(fastest), *missing_gains(fastest)):
        say(sentence)
    for sentence in group_warnings(fastest):
        warn(sentence)


def group_warnings(results: Sequence[Measurement]) -> list[str]:
    """Return each cause of instability once, with all *results* that have it."""
    causes: dict[str, list[tuple[str, str]]] = {}
    for result in results:
        for warning in result.warnings:
            causes.setdefault(_FIGURE.sub("#", warning), []).append((_label(result, results), warning))
    sentences = []
    for found in causes.values():
        labels, texts = zip(*found, strict=True)
        who = f"all {len(results)} results" if len(found) == len(results) > 1 else "; ".join(labels)
        whose = "" if len(set(texts)) == 1 else f" (the figures of {labels[0]})"
        sentences.append(f"{who}: {texts[0]}{whose}")
    return sentences


def _row(result: Measurement, results: Sequence[Measurement]) -> tuple[str, ...]:
    accuracy = result.accuracy
    low, high = accuracy.interval if accuracy else (0.0, 0.0)
    return (
        _file(result, results),
        result.runtime,
        result.runtime_version or "-",
        str(result.threads),
        format_ns(result.p50_ns),
        format_ns(result.p90_ns),
        format_ns(result.p99_ns),
        format_count(result.throughput_per_s),
        format_ns(result.load_ns),
        format_ns(result.first_ns),
        format_bytes(result.peak_rss_bytes),
        format_bytes(result.size_bytes),
        format_share(accuracy.top1 if accuracy else None),
        f"{100 * low:.2f}…{100 * high:.2f}, {accuracy.n}" if accuracy else "-",
    )


def _file(result: Measurement, results: Sequence[Measurement]) -> str:
    """Return the file's name, with its folder where another file of *results* bears the same name."""
    name = Path(result.file).name
    return name if len({other.file for other in results if Path(other.file).name == name}) == 1 else result.file


def _label(result: Measurement, results: Sequence[Measurement]) -> str:
    """Return what tells *result* from the other *results*: the file, and where they differ, runtime and threads."""
    parts = [_file(result, results)]
    if len({other.runtime for other in results if other.file == result.file}) > 1:
        parts.append(result.runtime)
    if len({other.threads for other in results}) > 1:
        parts.append(f"{result.threads} thread{'s' * (result.threads > 1)}")
    return ", ".join(parts)


def _means(results: Sequence[Measurement]) -> Iterator[str]:
    """Say of what the percentiles are, where single calls are too short for the clock."""
    short = {_label(result, results): max(run.loops for run in result.runs) for result in results if result.runs}
    short = {label: loops for label, loops in short.items() if loops > 1}
    if short:
        whose = "" if len(short) == len(results) else f" for {'; '.join(short)}"
        low, high = min(short.values()), max(short.values())
        loops = f"{low}" if low == high else f"{low} to {high}"
        yield f"p90 and p99 are of means over {loops} calls{whose}: one call is too short for the clock"


def _assumptions(results: Sequence[Measurement]) -> Iterator[str]:
    yield from dict.fromkeys(text for result in results for text in result.assumptions)


def _memory(results: Sequence[Measurement]) -> Iterator[str]:
    """Say what each step adds to the resident memory: a line for each runtime, over its results."""
    yield "peak RSS is all of the worker process:"
    for runtime in dict.fromkeys(result.runtime for result in results):
        steps = [_steps(result) for result in results if result.runtime == runtime]
        known = [step for step in steps if step is not None]
        if not known:
            yield f"  {runtime}: this system does not tell the parts"
            continue
        names = ("Python and numpy", "the runtime", "the file loaded", "running it")
        parts = [f"{name} {_range(sizes)}" for name, sizes in zip(names, zip(*known, strict=True), strict=True)]
        yield f"  {runtime}: {' + '.join(parts)}"


def _steps(result: Measurement) -> tuple[int, ...] | None:
    """Return what each step adds, in the process where the peak was highest; None where it is not known."""
    memory = max((run.memory for run in result.runs), key=lambda memory: memory.peak_bytes or 0, default=Memory())
    added, before = [], 0
    for size_bytes in (memory.python_bytes, memory.import_bytes, memory.load_bytes, memory.peak_bytes):
        if size_bytes is None:
            return None
        added.append(max(0, size_bytes - before))
        before = size_bytes
    return tuple(added)


def _range(sizes: Sequence[int]) -> str:
    low, high = format_bytes(min(sizes)), format_bytes(max(sizes))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if high.endswith(f' {unit}') else low}…{high}"
