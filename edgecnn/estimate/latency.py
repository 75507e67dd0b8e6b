"""`estimate_latency`: how long a file will take on a device that is not at hand, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.device import LATENCY_KINDS, DeviceProfile, LatencyModel, load_device
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.estimate.cores import latency_models
from edgecnn.estimate.fitting import MICRO_RUNTIMES, amounts_of, as_array
from edgecnn.estimate.work import Blocks, Work, graph_works
from edgecnn.formats import FORMATS, Graph, read_graph
from edgecnn.formats.precision import PRECISIONS
from edgecnn.short_repr import short_repr

CALIBRATED = "litert"  # the runtime whose coefficients `edgecnn devices calibrate` measures
_COMPUTING = ("conv", "pointwise", "depthwise", "linear")


class NoCoefficientsError(EdgecnnError):
    """A device's profile has no coefficients for what is to be estimated; the message says which it has."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A predicted latency with its band and its sources; nothing was run.

    Example:
        >>> edgecnn.estimate_latency("classifier.tflite", "rpi4", runtime="ncnn").threads
        1
    """

    __repr__ = short_repr

    file: str
    device: str
    runtime: str
    threads: int
    p50_ns: float
    low_ns: float  # the median of a measurement lies between low and high ...
    high_ns: float
    coverage: float  # ... for this share of networks that the coefficients were not fitted to
    parts_ns: Mapping[str, float]  # LATENCY_KINDS → their share of p50_ns
    rests_on: tuple[str, ...]  # sources of the coefficients
    notes: tuple[str, ...] = field(default=())
    method: str = "estimated"

    def to_json(self) -> dict[str, Any]:
        """Return the estimate for `--json`; its figures are no measurement, and say so."""
        own = ("file", "device", "runtime", "threads", "method", "p50_ns", "low_ns", "high_ns", "coverage")
        lists = {"rests_on": list(self.rests_on), "notes": list(self.notes)}
        return {**{key: getattr(self, key) for key in own}, "parts_ns": dict(self.parts_ns), **lists}


def estimate_latency(
    file: Graph | Path | str,
    device: DeviceProfile | Path | str,
    *,
    threads: int | None = 1,
    runtime: str | None = None,
    cores: str | None = None,
) -> Estimate:
    """Return the latency of *file* on *device* that its coefficients predict: its own, else those of its kind of core.

    Args:
        file: an exported file, or what one says.
        device: a profile, or the name of one.
        threads: of the runtime; None: the largest number for which the first of its kinds of cores has coefficients.
        runtime: whose kernels (`litert`, `onnxruntime`, `ncnn`); None: the usual one of the file's format, on a
            microcontroller the first of MICRO_RUNTIMES with coefficients.
        cores: the name of the only cores that the threads run on ("Cortex-A55"); None: the first with coefficients.

    Raises:
        EdgecnnError: no such file, device or cores, or nothing in the file costs time.
        NoCoefficientsError: no coefficients for that runtime, precision and number of threads.

    Example:
        >>> estimate = edgecnn.estimate_latency("classifier.tflite", "rpi4", runtime="ncnn")
        >>> estimate.low_ns < estimate.p50_ns < estimate.high_ns
        True
    """
    graph = file if isinstance(file, Graph) else read_graph(file)
    path = "" if isinstance(file, Graph) else str(file)
    profile = device if isinstance(device, DeviceProfile) else load_device(device)
    own_models = profile.latency
    profile = _with_models(profile, cores)
    name = runtime or usual_runtime(profile, graph.format)
    works: dict[str, list[Work]] = {}
    for precision, work in graph_works(graph, name):
        works.setdefault(precision, []).append(work)
    if not works:
        raise EdgecnnError(
            f"{path or 'the network'}: it has no operator that takes time, so there is nothing to estimate"
        )
    served = {precision: _served_by(precision, profile, name) for precision in works}
    count = most_threads(profile, name, served.values()) if threads is None else threads
    models = {precision: find_model(profile, name, served[precision], count) for precision in works}
    borrowed = [
        f"no coefficients for {own}: estimated with those of {other}" for own, other in served.items() if own != other
    ]
    parts = dict.fromkeys(LATENCY_KINDS, 0.0)
    for precision, own in works.items():
        model = models[precision]
        blocks = Blocks(model.input_block, model.output_block, model.winograd)
        costs = as_array(model.costs) * amounts_of(own, precision, blocks)
        for kind, cost_ns in zip(LATENCY_KINDS, costs.reshape(len(LATENCY_KINDS), -1).sum(axis=1), strict=True):
            parts[kind] += float(cost_ns)
    p50_ns = sum(parts.values())
    return Estimate(
        file=path,
        device=profile.name,
        runtime=name,
        threads=count,
        p50_ns=p50_ns,
        low_ns=p50_ns * min(model.low for model in models.values()),
        high_ns=p50_ns * max(model.high for model in models.values()),
        coverage=min(model.coverage for model in models.values()),
        parts_ns=parts,
        rests_on=tuple(dict.fromkeys(model.source for model in models.values())),
        notes=(*borrowed, *_notes(profile, list(models.values()), own_models)),
    )


def usual_runtime(profile: DeviceProfile, file_format: str) -> str:
    """Return whose kernels run a file of that format on a device, where nobody names a runtime."""
    if profile.kind != "mcu":
        return FORMATS[file_format].runtime
    known = {model.runtime for model in profile.latency}
    return next((name for name in MICRO_RUNTIMES if name in known), MICRO_RUNTIMES[0])


def _served_by(precision: str, profile: DeviceProfile, runtime: str) -> str:
    """Return the precision whose coefficients serve for *precision*: its own, else those its row may borrow."""
    own = {model.precision for model in profile.latency if model.runtime == runtime}
    other = PRECISIONS[precision].figures_of if precision in PRECISIONS else None
    return precision if precision in own or other is None else other


def _with_models(profile: DeviceProfile, cores: str | None) -> DeviceProfile:
    """Return *profile* with all coefficients that serve for it, or with those of *cores* alone."""
    models = latency_models(profile)
    if cores is None:
        return replace(profile, latency=models)
    names = [core.name for core in profile.cores]
    if cores not in names:
        raise unknown_name(f"cores of {profile.name}", cores, names)
    alone = len(names) == 1
    return replace(profile, latency=tuple(m for m in models if m.cores == cores or (alone and m.cores is None)))


def most_threads(profile: DeviceProfile, runtime: str, precisions: Iterable[str]) -> int:
    """Return the largest number of threads with coefficients for all *precisions* on the first kind of cores with any.

    It is 1 where there are none.
    """
    wanted = list(precisions)
    places = _places(profile)
    for cores in places:
        counts = [
            {m.threads for m in profile.latency if (m.runtime, m.precision, m.cores) == (runtime, precision, cores)}
            for precision in wanted
        ]
        if common := set.intersection(*counts):
            return max(common)
    return 1


def _places(profile: DeviceProfile) -> dict[str | None, int]:
    """Return the sets of cores in the order in which they are taken: all of them, then each kind."""
    named = [core.name for core in profile.cores]
    others = [m.cores for m in profile.latency if m.cores is not None and m.cores not in named]
    return {cores: place for place, cores in enumerate(dict.fromkeys([None, *named, *others]))}


def find_model(profile: DeviceProfile, runtime: str, precision: str, threads: int) -> LatencyModel:
    """Return the coefficients of *profile* for exactly that, of the first of its kinds of cores where they differ.

    Raises:
        NoCoefficientsError: there are none; the message says which there are and how to get them.
    """
    fitting = [m for m in profile.latency if (m.runtime, m.precision, m.threads) == (runtime, precision, threads)]
    if fitting:
        places = _places(profile)
        return min(fitting, key=lambda model: places[model.cores])
    wanted = f"{runtime}, {precision}, {threads} thread{'s' * (threads > 1)}"
    known = "; ".join(describe_models(profile.latency)) or "none"
    raise NoCoefficientsError(
        f"{profile.name}: no latency coefficients for {wanted} (known: {known}); {_way(profile, runtime, threads)}"
    )


def _way(profile: DeviceProfile, runtime: str, threads: int) -> str:
    if profile.kind == "mcu":
        return "for microcontrollers only int8 networks have published figures"
    if runtime == CALIBRATED:
        calibrate = f"edgecnn devices calibrate {profile.name} --target {profile.target_form} --threads {threads}"
        return f"with the board connected, run {calibrate}"
    return f"estimate a .tflite file ({CALIBRATED}), or measure with --target {profile.target_form}"


def describe_models(models: Sequence[LatencyModel]) -> list[str]:
    """Return one text for each runtime and precision: `litert fp32 at 1, 4 threads`."""
    counts: dict[tuple[str, str], set[int]] = {}
    for model in models:
        counts.setdefault((model.runtime, model.precision), set()).add(model.threads)
    return [
        f"{runtime} {precision} at {', '.join(map(str, sorted(threads)))} thread{'s' * (max(threads) > 1)}"
        for (runtime, precision), threads in counts.items()
    ]


def _notes(profile: DeviceProfile, models: Sequence[LatencyModel], own: Sequence[LatencyModel]) -> tuple[str, ...]:
    few = min(models, key=lambda model: model.networks)
    text = f"the coefficients rest on {few.networks} network{'s' * (few.networks > 1)}; measure before you decide on it"
    cores = dict.fromkeys(f"the threads run on the {model.cores} cores" for model in models if model.cores)
    micro = _micro_notes(profile, models) if profile.kind == "mcu" else ()
    kinds = dict.fromkeys(
        f"{profile.name} has no figures of its own for {model.runtime}, {model.precision}, {model.threads} "
        f"thread{'s' * (model.threads > 1)}: these are of its kind of core, so the band is wider"
        for model in models
        if model not in own
    )
    return (*((text,) if few.networks < 10 else ()), *kinds, *cores, *micro)


def _micro_notes(profile: DeviceProfile, models: Sequence[LatencyModel]) -> Iterator[str]:
    """Say whose kernels they are where they are not TFLite Micro's, and what a multiply-add costs in cycles."""
    runtime = models[0].runtime
    if runtime != MICRO_RUNTIMES[0]:
        yield f"the kernels are those of {runtime}; those of today's TFLite Micro may differ in speed"
    clock_mhz = profile.cores[0].clock_mhz if profile.cores else None
    if clock_mhz is not None:
        for model in models:
            cycles = ", ".join(
                f"{kind} {cost.ns_per_mac * clock_mhz / 1000:.1f}"
                for kind, cost in model.costs.items()
                if kind in _COMPUTING
            )
            yield f"cycles a multiply-add at {clock_mhz:g} MHz, bytes moved apart: {cycles}; a lower clock takes longer"
