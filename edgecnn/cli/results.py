"""How `edgecnn bench` shows its results: tables, and below them what their figures contain and rest on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.cli.table import print_table, say, warn
from edgecnn.measurement import EMULATED, Measurement, Memory
from edgecnn.tasks.score import title_of
from edgecnn.units import format_bytes, format_count, format_ns

if TYPE_CHECKING:
    from edgecnn.benchmarks.changes import Change

_COLUMNS = (
    *("file", "runtime", "version", "threads", "p50", "p90", "p99", "calls/s"),
    *("load", "first call", "peak RSS", "by fit", "size"),  # and the score, with its interval
)
_RIGHT = tuple(range(3, 15))
_SPARE = (2, 7, 14, 9, 8, 6, 12, 11, 5, 10)  # version, calls/s, interval, first call, load, p99, size, fit, p90, RSS

_COUNTED_COLUMNS = (
    *("file", "runtime", "version", "instructions", "peak RSS", "by fit"),
    *("RAM for it", "size"),
)
_COUNTED_RIGHT = tuple(range(3, 10))
_COUNTED_SPARE = (2, 9, 7, 6)

#: A figure in a sentence, with its unit.
_FIGURE = re.compile(r"\d[\d.e+]*( (?:ns|µs|ms|s|%))?")


def print_results(results: Sequence[Measurement]) -> None:
    """Print latencies and counted instructions apart, as they share no column, and what the figures rest on."""
    for counted, show in ((False, _print_measured), (True, _print_counted)):
        kind = [result for result in results if (result.method == EMULATED) == counted]
        if kind:
            show(kind)
    for sentence in _assumptions(results):
        say(sentence)
    for sentence in group_warnings(results):
        warn(sentence)


def _print_measured(results: Sequence[Measurement]) -> None:
    """Print one table of all *results*, the fastest first."""
    from edgecnn.benchmarks.gains import missing_gains

    fastest = sorted(results, key=lambda result: result.p50_ns or float("inf"))
    first = fastest[0]
    title = f"{first.method.capitalize()} on {first.device} ({first.conditions.get('cpu') or first.target})"
    if len({result.device for result in results}) > 1:
        title = first.method.capitalize()
    print_table(
        title,
        (*_COLUMNS, *_score_columns(results)),
        [_row(result, fastest) for result in fastest],
        right=_RIGHT,
        spare=_SPARE,
    )
    for sentence in (*_means(fastest), *_memory(fastest), *missing_gains(fastest)):
        say(sentence)


def _print_counted(results: Sequence[Measurement]) -> None:
    """Print one table of emulated *results*, the fewest instructions first; there are no durations."""
    fewest = sorted(results, key=lambda result: result.instructions or float("inf"))
    devices = list(dict.fromkeys(result.device for result in fewest))
    rows = [_counted_row(result, fewest) for result in fewest]
    title = f"Emulated {', '.join(devices)}"
    print_table(title, (*_COUNTED_COLUMNS, *_score_columns(results)), rows, right=_COUNTED_RIGHT, spare=_COUNTED_SPARE)
    say("instructions of one call, counted without caches or bandwidth: they do not measure time")
    for device in devices:
        features = next((r.conditions["features"] for r in fewest if r.device == device and r.runs), None)
        if features is not None:
            dot = "among them the dot product of int8" if "dotprod" in features else "there is no dot product of int8"
            say(f"kernels on {device} can use {', '.join(features)}; {dot}")
    for sentence in _memory(fewest):
        say(sentence)


def print_changes(changes: Sequence[Change]) -> None:
    """Print a line for each change, with the interval of its ratio."""
    for change in changes:
        interval = "" if change.low is None else f" (95 %: {change.low:.3f}…{change.high:.3f})"
        figures = " → ".join(_figure(figure, change.unit) for figure in (change.earlier, change.later))
        line = (
            f"{change.verdict}: {change.file}, {change.runtime}, {change.threads} thread{'s' * (change.threads > 1)}: "
            f"{change.ratio:.3f} times{interval}, {figures}"
        )
        say(f"{line}; {change.remedy}" if change.remedy else line)


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
        format_bytes(result.predicted_rss_bytes),
        format_bytes(result.size_bytes),
        *_score(result),
    )


def _counted_row(result: Measurement, results: Sequence[Measurement]) -> tuple[str, ...]:
    limit = format_bytes(result.conditions.get("ram_free_bytes"))
    return (
        _file(result, results),
        result.runtime,
        result.runtime_version or "-",
        "-" if result.instructions is None else f"{result.instructions:,.0f}",
        format_bytes(result.peak_rss_bytes) if result.runs else f"over {limit}",
        format_bytes(result.predicted_rss_bytes),
        limit,
        format_bytes(result.size_bytes),
        *_score(result),
    )


def _score_columns(results: Sequence[Measurement]) -> tuple[str, str]:
    return title_of(result.score for result in results), "95 %, n"


def _score(result: Measurement) -> tuple[str, str]:
    """Return the score, and its interval with the number of samples and the further scores."""
    if result.score is None:
        return "-", "-"
    further = "".join(f", {one.name} {one.text}" for one in result.scores[1:])
    return result.score.text, f"{result.score.interval_text}, {result.score.n}{further}"


def _figure(figure: float, unit: str) -> str:
    return format_ns(figure) if unit == "ns" else f"{format_count(figure)} {unit}"


def _file(result: Measurement, results: Sequence[Measurement]) -> str:
    """Return the file's name, with its folder where another file of *results* bears the same name, and the device.

    The device is left out where all *results* are of one.
    """
    name = Path(result.file).name
    if len({other.file for other in results if Path(other.file).name == name}) > 1:
        name = result.file
    return name if len({other.device for other in results}) == 1 else f"{name} on {result.device}"


def _label(result: Measurement, results: Sequence[Measurement]) -> str:
    """Return what distinguishes *result* among *results*: the file, and where they differ, runtime and threads."""
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
        yield f"p90 and p99 are means over {loops} calls{whose}: one call is too short for the clock"


def _assumptions(results: Sequence[Measurement]) -> Iterator[str]:
    yield from dict.fromkeys(text for result in results for text in result.assumptions)


def _memory(results: Sequence[Measurement]) -> Iterator[str]:
    """Say what each step adds to the resident memory: a line for each runtime, over its results."""
    done = [result for result in results if result.runs]  # the others were too large
    if done:
        predicted = any(result.predicted_rss_bytes is not None for result in done)
        yield f"peak RSS is all of the worker process{', beside what edgecnn fit estimates' if predicted else ''}:"
    for runtime in dict.fromkeys(result.runtime for result in done):
        steps = [_steps(result) for result in done if result.runtime == runtime]
        known = [step for step in steps if step is not None]
        if not known:
            yield f"  {runtime}: this system does not report the parts"
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
