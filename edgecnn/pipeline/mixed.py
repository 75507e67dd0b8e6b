"""Keep the few layers in float that int8 costs the most, where an int8 file breaks its limits without that.

A layer is a convolution or linear layer with what is computed after it until the next one. Between two layers that stay
in float, the values stay in float as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.layers import layer_noise
from edgecnn.evaluate.verify import Attempt, broken_limit
from edgecnn.fit.advice import short_name
from edgecnn.formats import Graph
from edgecnn.pipeline.comparison import Latency, latency_of
from edgecnn.pipeline.int8_search import Found, Write, decibels, error_of
from edgecnn.pipeline.reference import HeldBack
from edgecnn.progress import Progress, silent
from edgecnn.recipe import MINMAX, Limits
from edgecnn.tasks.score import Score
from edgecnn.units import format_bytes

_MOST = 3  # layers that stay in float
_TRIED = 6  # of the layers with the most noise, each is tried as the only one in int8
_NOISE_SAMPLES = 16
_CORRECTIONS = frozenset({"adaround", "bias"})  # steps that a file of one int8 layer goes without


@dataclass(frozen=True)
class Layer:
    """One layer of a float file: the names of its operators, the convolution or linear layer first."""

    operators: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its convolution or linear layer."""
        return self.operators[0]


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers of a float file in the order they run; what comes before the first one belongs to that.

    Example:
        >>> [len(layer.operators) for layer in layers_of(edgecnn.read_graph("classifier.tflite"))]
        [3, 1]
    """
    layers: list[list[str]] = []
    before: list[str] = []
    for operator in graph.operators:
        if operator.macs:
            layers.append([operator.name])
        else:
            (layers[-1] if layers else before).append(operator.name)
    if layers:
        layers[0] += before
    return tuple(Layer(tuple(names)) for names in layers)


def search_mixed(
    found: Found,
    held: HeldBack,
    judged: HeldBack,
    limits: Limits,
    write: Write,
    folder: Path,
    progress: Progress = silent,
    *,
    device: str | None = None,
    is_integer_only: bool = False,
) -> Iterator[Found]:
    """Yield the best file so far, with one to three layers in float, until one is within *limits*; none if *found* is.

    The layers that add the most noise are tried first, each as the only one in int8. Those with which the outputs err
    most stay in float, one more in each attempt. With *is_integer_only* no file of those is kept: they show what that
    costs.

    Args:
        found: the best file all in int8, and how it was made.
        held: samples to try layers on.
        judged: samples to judge limits on.
        limits: of the file, against the float file.
        write: makes an int8 file.
        folder: where the files are written.
        progress: told the attempts.
        device: that latency is estimated for; None: it is measured on this machine.
        is_integer_only: whether the file is to be all in integers.
    """
    integers = _Judged.of(found.artifact, judged, limits)
    if integers.broken is None:
        return
    integers = replace(integers, latency=latency_of(found.artifact, device))
    ranked = _worst_first(found, held, write, folder, progress)
    earlier = found
    for count in range(1, min(_MOST, len(ranked)) + 1):
        progress("searching layers to keep in float", count, _MOST)
        layers = ranked[:count]
        attempt = _attempt(earlier, found.method, layers, held, write, folder / f"mixed{count}{_suffix(held)}")
        if isinstance(attempt, Attempt):
            earlier = replace(earlier, attempts=(*earlier.attempts, attempt))
            yield _integer_only(found, earlier) if is_integer_only else earlier
            continue
        mixed = _Judged.of(attempt.artifact, judged, limits)
        mixed = replace(mixed, latency=latency_of(attempt.artifact, device))
        told = _told(integers, mixed, layers, is_integer_only=is_integer_only)
        earlier = replace(attempt, notes=(*found.notes, told))
        yield _integer_only(found, earlier) if is_integer_only else earlier
        if mixed.broken is None:
            return


def _integer_only(found: Found, mixed: Found) -> Found:
    """Return *found*, with the attempts and notes of *mixed*."""
    attempts = tuple(replace(one, kept=one.kept and not one.in_float) for one in mixed.attempts)
    return replace(found, attempts=attempts, notes=mixed.notes)


def _suffix(held: HeldBack) -> str:
    return held.float_file.path.suffix


def _attempt(
    earlier: Found, method: str, layers: Sequence[Layer], held: HeldBack, write: Write, path: Path
) -> Found | Attempt:
    """Return the file with *layers* in float where it is better than the *earlier* one, else the attempt alone."""
    began = time.monotonic()
    names = tuple(layer.name for layer in layers)
    try:
        file = write(method, path, in_float=[name for layer in layers for name in layer.operators])
        parity = held.judged(file).parity
    except EdgecnnError as failure:
        return Attempt(method, None, None, False, round(time.monotonic() - began, 1), str(failure), names)
    assert parity is not None
    error, seconds = error_of(parity), round(time.monotonic() - began, 1)
    better = error < earlier.error
    attempt = Attempt(method, decibels(error), parity.top1_agreement, better, seconds, in_float=names)
    return Found(file, method, error, (*earlier.attempts, attempt)) if better else attempt


def _worst_first(found: Found, held: HeldBack, write: Write, folder: Path, progress: Progress) -> list[Layer]:
    """Return the layers that int8 costs the most, by the error of the outputs with each as the only one in int8."""
    graph = held.float_file.graph
    layers = layers_of(graph)
    noises = layer_noise(held.float_file, found.artifact, held.samples.take(_NOISE_SAMPLES), held.normalization)
    added: dict[str, float] = {}
    for noise in noises:
        added[noise.source] = added.get(noise.source, 0.0) + max(noise.added_noise, 0.0)
    noisy = sorted(layers, key=lambda layer: -sum(added.get(name, 0.0) for name in layer.operators))[:_TRIED]
    method = ",".join(step for step in found.method.split(",") if step not in _CORRECTIONS) or MINMAX
    errors = {}
    for number, layer in enumerate(noisy):
        progress("trying single layers in int8", number, len(noisy))
        others = [operator.name for operator in graph.operators if operator.name not in layer.operators]
        path = folder / f"alone{number}{_suffix(held)}"
        try:
            parity = held.judged(write(method, path, in_float=others)).parity
        except EdgecnnError:
            continue  # alone it cannot be quantized
        finally:
            path.unlink(missing_ok=True)
        assert parity is not None
        errors[layer] = error_of(parity)
    return sorted(errors, key=lambda layer: -errors[layer])


@dataclass(frozen=True)
class _Judged:
    """A file on the held-back samples, by what limits are about, and what it costs."""

    artifact: Artifact
    score: Score | None
    drop: float | None  # of the score, as a fraction
    broken: str | None  # the limit it breaks
    n: int
    latency: Latency | None = None

    @classmethod
    def of(cls, artifact: Artifact, judged: HeldBack, limits: Limits) -> _Judged:
        judgement = judged.judged(artifact)
        assert judgement.parity is not None
        score, reference = judgement.scores[0] if judgement.scores else None, judged.reference.score
        drop = None if score is None or reference is None else score.drop_from(reference.value)
        return cls(artifact, score, drop, broken_limit(limits, judgement.parity, score, reference), judgement.n)


def _told(integers: _Judged, mixed: _Judged, layers: Sequence[Layer], *, is_integer_only: bool) -> str:
    """Return what layers in float bring, and what they cost."""
    names = ", ".join(short_name(layer.name) for layer in layers)
    kind, n = mixed.artifact.format, f"{mixed.n} held-back samples"
    more = mixed.artifact.size_bytes - integers.artifact.size_bytes
    cost = f"{format_bytes(abs(more))} {'larger' if more > 0 else 'smaller'}" if more else "of the same size"
    if integers.latency is not None and mixed.latency is not None:
        cost += f", {mixed.latency.ns / integers.latency.ns:.2f} times the latency, {mixed.latency.method}"
    loses = ""
    if mixed.score is not None and mixed.drop is not None and integers.drop is not None:
        high, first, second = mixed.score.higher_is_better, 100 * integers.drop, 100 * mixed.drop
        order = (first, second) if is_integer_only else (second, first)
        figures = f"{order[0]:.2f} instead of {order[1]:.2f} {'points' if high else '%'}"
        loses = f"{mixed.score.name} {'falls' if high else 'rises'} by {figures} on {n}"
    if is_integer_only:
        return f"{kind}, integer-only: {loses or integers.broken}; the file with {names} in float is {cost}"
    stays = "stay in float" if len(layers) > 1 else "stays in float"
    return f"{kind}: {names} {stays}: {loses or f'judged on {n}'}; the file is {cost}"


__all__ = ["Layer", "layers_of", "search_mixed"]
