"""Each plot with the sentence that says what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecnn.artifact import Artifact
from edgecnn.fit import FitReport
from edgecnn.report.confusion import MOST_CLASSES, confusion_message, draw_confusion, list_pairs
from edgecnn.report.facts import Row
from edgecnn.report.layers import Layer, draw_layers, heaviest, layers_of
from edgecnn.report.markup import Markup, element
from edgecnn.report.memory import draw_live_bytes, equal_plots
from edgecnn.report.plots import draw_accuracies, draw_latencies, draw_sizes, draw_tradeoff, latency_limit
from edgecnn.tasks.score import Score
from edgecnn.units import format_bytes, format_ns


def figure(message: str, detail: str, drawing: Markup) -> Markup:
    """Return *drawing* below its message and, smaller, how to read it.

    Args:
        message: one sentence: what the plot shows.
        detail: how to read it.
        drawing: the plot.
    """
    captions = [text.replace(" %", "\N{NO-BREAK SPACE}%") for text in (message, detail)]
    caption = element("figcaption", element("h3", captions[0]), element("span", captions[1]))
    return element("figure", caption, drawing)


def file_figures(rows: Sequence[Row], original: Score | None) -> list[Markup]:
    """Return the plots of *rows* for which there are figures.

    Args:
        rows: one for each file and runtime.
        original: the score of the network that the files were made from; None: unknown.
    """
    timed = [row for row in rows if row.p50_ns is not None]
    judged = [row for row in rows if row.score is not None]
    both = [row for row in timed if row.score is not None]
    figures = []
    if both:
        detail = "Up and left is better. Marker area: file size. Vertical line: 95 % interval."
        figures.append(figure(_tradeoff_message(both), detail, draw_tradeoff(both)))
    if timed:
        figures.append(figure(_latency_message(timed), _latency_detail(timed), draw_latencies(timed)))
    if rows:
        figures.append(figure(_size_message(rows), "Size on disk.", draw_sizes(_one_each(rows))))
    if judged:
        dashed = f" The dashed line is the network before export, {original.text}." if original else ""
        detail = f"Measured on {judged[0].score.n if judged[0].score else 0} samples.{dashed}"
        drawing = draw_accuracies(_one_each(judged), original.value if original else None)
        figures.append(figure(_accuracy_message(judged), detail, drawing))
    return figures


def confusion_figures(rows: Sequence[Row], labels: Sequence[str]) -> list[Markup]:
    """Return which classes the fastest file with an accuracy takes for which: a matrix, or the most frequent pairs.

    Args:
        rows: one for each file and runtime.
        labels: names of the classes; none: their numbers stand for them.
    """
    row = next((row for row in rows if row.file.evaluation.confusion), None)
    if row is None:
        return []
    confusion = row.file.evaluation.confusion
    message, n = confusion_message(row, labels), sum(confusion.values())
    if max(len(labels), *(1 + max(pair) for pair in confusion)) <= MOST_CLASSES:
        detail = f"{row.name} on {n} samples. Blue is right, red wrong; a stronger colour is a larger share of its row."
        return [figure(message, detail, draw_confusion(confusion, labels))]
    detail = f"{row.name} on {n} samples: the classes it confuses most often."
    return [figure(message, detail, list_pairs(confusion, labels))]


def layer_figures(rows: Sequence[Row]) -> list[Markup]:
    """Return the plot of the layers of the smallest network exported, beside those of the largest of the same build.

    The float TFLite file is taken where there is one: there an operator is a layer.
    """
    artifacts = sorted(
        (row.file.artifact for row in rows if layers_of(row.file.artifact.graph)),
        key=lambda artifact: (artifact.precision != "fp32", artifact.format != "tflite", artifact.size_bytes),
    )
    if not artifacts:
        return []
    chosen = artifacts[0]
    layers = layers_of(chosen.graph)
    original = max((other for other in artifacts if _build(other) == _build(chosen)), key=lambda one: one.graph.params)
    before = {layer.step: layer for layer in layers_of(original.graph)} if original is not chosen else {}
    shown = heaviest(layers)
    detail = f"Counted in {chosen.path.name}: the operator's place, its kind and the shape of its output."
    if before:
        detail += f" Pale: {original.path.name}."
    if len(shown) < len(layers):
        detail += f" The {len(shown)} heaviest of {len(layers)}."
    return [figure(_layers_message(layers), detail, draw_layers(shown, before))]


def _build(artifact: Artifact) -> tuple[str, str, list[str]]:
    """Return what two files have in common that differ in their numbers of channels alone."""
    return artifact.format, artifact.precision, [operator.kind for operator in artifact.graph.operators]


def _layers_message(layers: Sequence[Layer]) -> str:
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    most_params, most_macs = max(layers, key=lambda x: x.params), max(layers, key=lambda x: x.macs)
    holds = f"Operator {most_params.step} holds {_part(most_params.params, params)} of the parameters"
    if not macs:
        return holds
    who = "and" if most_macs is most_params else f"operator {most_macs.step}"
    return f"{holds}{' ' if who == 'and' else ', '}{who} does {_part(most_macs.macs, macs)} of the multiply-adds"


def memory_figures(fits: Sequence[FitReport], names: Mapping[str, str]) -> list[Markup]:
    """Return a plot of the live bytes over the run, for each file and runtime that lays it out.

    Beside microcontrollers, where activations are most of the RAM, devices with an operating system are left out.
    *names* is the path of a file → what it is called.
    """
    micro = [fit for fit in fits if fit.pointer_bytes is not None]
    figures = []
    for number, group in enumerate(equal_plots(micro or fits)):
        peak = group[0].peak
        assert peak is not None
        devices = ", ".join(fit.device for fit in group)
        alive, kind = format_bytes(peak.live_bytes), peak.operator.split()[0]
        message = f"At its peak {names[group[0].file]} keeps {alive} alive, at operator {peak.step} ({kind})"
        layout = "TFLite Micro" if micro else "the runtime"
        detail = (
            f"Estimated, as {layout} lays it out on {devices}, with what each leaves of its RAM once all else is in it."
        )
        figures.append(figure(message, detail, draw_live_bytes(group, f"live{number}")))
    return figures


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor < 10 else f"{factor:.0f}"


def _part(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} %"


def _one_each(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each file: what does not change with the runtime and the threads is shown once."""
    return list({row.name: row for row in reversed(rows)}.values())[::-1]


def _goodness(row: Row) -> float:
    if row.score is None:
        return 0.0
    return row.score.value if row.score.higher_is_better else -row.score.value


def _tradeoff_message(rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: (_goodness(row), -(row.p50_ns or 0)))
    fastest = min(rows, key=lambda row: row.p50_ns or 0)
    if best is fastest:
        score = best.score.text if best.score else "-"
        return f"{best.label} is the fastest, and none has a better score: {score} in {format_ns(best.p50_ns)}"
    low, _ = best.score.interval if best.score else (0, 0)
    _, high = fastest.score.interval if fastest.score else (0, 0)
    comparison = "their 95 % intervals overlap" if high >= low else "their 95 % intervals do not overlap"
    return f"{fastest.label} is the fastest; {best.label} has the best score; {comparison}"


def _latency_message(rows: Sequence[Row]) -> str:
    ordered = sorted(rows, key=lambda row: row.p50_ns or 0)
    first, last = ordered[0], ordered[-1]
    if first is last:
        return f"{first.label} answers in {format_ns(first.p50_ns)}"
    times = (last.p50_ns or 0) / (first.p50_ns or 1)
    return f"{first.label} answers {_times(times)} times as fast as {last.label}"


def _latency_detail(rows: Sequence[Row]) -> str:
    most = latency_limit(rows)
    beyond = [value for row in rows if row.measured for value in row.measured.values_ns if value > most]
    detail = "Bar and thick line: p50; thinner line: p90; thin lines: the raw values."
    if beyond:
        verb = "values lie" if len(beyond) > 1 else "value lies"
        detail += f" {len(beyond)} {verb} further right, the longest {format_ns(max(beyond))}."
    return detail


def _size_message(rows: Sequence[Row]) -> str:
    smallest, largest = (pick(rows, key=lambda row: row.size_bytes) for pick in (min, max))
    if smallest.size_bytes == largest.size_bytes:
        return f"The file takes {format_bytes(smallest.size_bytes)}"
    times = largest.size_bytes / smallest.size_bytes
    size = format_bytes(smallest.size_bytes)
    return f"{smallest.label} takes {size}, {_times(times)} times smaller than {largest.label}"


def _accuracy_message(rows: Sequence[Row]) -> str:
    intervals = [row.score.interval for row in rows if row.score]
    lowest, highest = (pick(row.score.value for row in rows if row.score) for pick in (min, max))
    if lowest == highest:
        text = next(row.score.text for row in rows if row.score)
        return f"Every file reaches {text}" if len(rows) > 1 else f"It reaches {text}"
    apart = max(low for low, _ in intervals) > min(high for _, high in intervals)
    comparison = "not all of their 95 % intervals overlap" if apart else "their 95 % intervals overlap"
    return f"The files differ by up to {100 * (highest - lowest):.2f} points; {comparison}"
