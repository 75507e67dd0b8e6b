"""`profile_file`: how long each operator of a file takes, as the runtime's own profiler tells, and which are slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, check_architecture, check_target, check_threads
from edgecnn.device import HOST, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate.cores import latency_models
from edgecnn.estimate.work import kernel_works
from edgecnn.fit.advice import short_name
from edgecnn.formats.precision import PRECISIONS
from edgecnn.measurement import EMULATED
from edgecnn.parsing import from_table
from edgecnn.progress import Progress, silent
from edgecnn.runtimes import runtime_for
from edgecnn.targets import device_of, open_target
from edgecnn.targets.execute import started_worker
from edgecnn.units import format_ns

#: Words by which profilers and files name the same kind of operator; the first that is found in a name counts.
#: Convolutions and linear layers are one family: a runtime computes a 1x1 convolution as either.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "conversion": ("convert", "quantize"),
    "computing": ("conv", "fully", "gemm", "matmul"),
    "concatenation": ("concat",),
    "average": ("averagepool", "avgpool"),
    "maximum": ("maxpool",),
    "mean": ("mean", "reduce", "globalaverage", "sum"),
    "padding": ("pad",),
    "softmax": ("softmax",),
    "hard_swish": ("hardswish",),
    "sigmoid": ("sigmoid", "logistic"),
    "add": ("add",),
    "multiply": ("mul",),
    "transpose": ("transpose",),
    "resize": ("resize", "upsample"),
}


#: Profilers count whole microseconds.
RESOLUTION_NS = 1000


@dataclass(frozen=True)
class OperatorTime:
    """One operator as a runtime ran it."""

    kind: str  # the runtime's word for it
    ns: float  # mean over the fastest tenth of the runs
    name: str | None = None  # of its output in the file; None: the runtime put it in, and the file has no such operator
    step: int | None = None  # its place in the file's list of operators that cost time
    precision: str | None = None
    macs: int = 0
    moved_bytes: int = 0  # activations and weights
    limit_ns: float | None = None  # the least time that the machine could take, see `Profile.limit`

    @property
    def limit_share(self) -> float | None:
        """Share of the machine's limit that it reaches, a fraction; it may be above 1."""
        return None if self.limit_ns is None or self.ns <= 0 else self.limit_ns / self.ns


@dataclass(frozen=True)
class KindTime:
    """All operators of one kind in a file, together."""

    kind: str
    count: int
    ns: float
    macs: int
    moved_bytes: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The operators of one file on one device, and the whole call beside them, measured with the profiler off."""

    file: str
    format: str
    precision: str
    runtime: str
    runtime_version: str
    device: str
    target: str
    method: str  # "measured", or "emulated" where a nanosecond is an instruction
    threads: int
    whole_ns: float  # mean over the fastest tenth of the calls
    operators: tuple[OperatorTime, ...]
    limit: str  # what `limit_ns` of the operators rests on

    @property
    def sum_ns(self) -> float:
        """All operators together."""
        return sum(operator.ns for operator in self.operators)

    @property
    def kinds(self) -> tuple[KindTime, ...]:
        """The operators summed by their kind, the slowest kind first."""
        found: dict[str, list[OperatorTime]] = {}
        for operator in self.operators:
            found.setdefault(operator.kind, []).append(operator)
        summed = (
            KindTime(
                kind,
                len(operators),
                sum(one.ns for one in operators),
                sum(one.macs for one in operators),
                sum(one.moved_bytes for one in operators),
            )
            for kind, operators in found.items()
        )
        return tuple(sorted(summed, key=lambda one: -one.ns))

    def to_json(self) -> dict[str, Any]:
        """Return the profile for `--json`: each operator with its share of the sum and of the machine's limit."""
        own = {key: getattr(self, key) for key in self.__dataclass_fields__ if key != "operators"}
        operators = [
            {**asdict(one), "share": one.ns / self.sum_ns if self.sum_ns else None, "limit_share": one.limit_share}
            for one in self.operators
        ]
        kinds = [{**asdict(one), "share": one.ns / self.sum_ns if self.sum_ns else None} for one in self.kinds]
        return {**own, "sum_ns": self.sum_ns, "kinds": kinds, "operators": operators}


@dataclass(frozen=True)
class SlowerOperator:
    """An operator that takes longer in the quantized file than in the float file."""

    name: str
    kind: str
    ns: float
    float_ns: float


@dataclass(frozen=True)
class _Event:
    """What a worker tells of one operator."""

    kind: str
    ns: float
    name: str = ""


@dataclass(frozen=True)
class _Answer:
    """What a worker tells of one file."""

    version: str
    whole_ns: float
    operators: tuple[_Event, ...]


def profile_file(
    file: Path | str | Artifact,
    *,
    runtime: str | None = None,
    threads: int = 1,
    device: str = HOST,
    target: str = "local",
    effort: BenchmarkConfig | None = None,
    progress: Progress = silent,
) -> Profile:
    """Run one exported file with its runtime's profiler on, and return what each operator takes.

    Calls with the profiler on and off alternate, so that the whole call stands beside the sum of its operators.

    Args:
        file: a `.tflite` or `.onnx` file.
        runtime: `litert` or `onnxruntime`; None: the usual runtime of the file's format.
        threads: number of threads of the runtime.
        device: the device to report for, as `load_device` takes it.
        target: where to run: `local`, `ssh://user@host`, `adb:SERIAL` or `emulated:DEVICE`.
        effort: how long to measure; None: the defaults of `BenchmarkConfig`.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: a broken file, a missing runtime or one without a profiler, or a device that is not at hand.

    Example:
        >>> profile = profile_file("tests/data/classifier.tflite")
        >>> profile.operators[0].macs > 0
        True
    """
    artifact = file if isinstance(file, Artifact) else Artifact.open(file)
    effort = effort or BenchmarkConfig()
    where = check_target(device, target)
    device = device_of(where) or device
    name = runtime_for(artifact.format, runtime)
    job = {"kind": "profile", "min_time_ns": round(effort.min_time_s * 1e9), "cpus": list(effort.cpus)}
    with open_target(where) as place:
        check_architecture(device, place)
        check_threads(threads, place)
        progress(f"profiling {artifact.path.name}", 0, 1)
        with started_worker(artifact, job, runtime=name, threads=threads, target=place) as (_, message):
            pass
        progress(f"profiling {artifact.path.name}", 1, 1)
        method = place.method
    answer = from_table(_Answer, message, f"{artifact.path}: the answer of the {name} worker", strict=False)
    operators = tuple(_matched(artifact, name, answer.operators))
    limits, source = _limits(device, name, threads, operators)
    return Profile(
        file=str(artifact.path),
        format=artifact.format,
        precision=artifact.precision,
        runtime=name,
        runtime_version=answer.version,
        device=device,
        target=where,
        method=method,
        threads=threads,
        whole_ns=answer.whole_ns,
        operators=tuple(_with_limit(one, limits) for one in operators),
        limit=source,
    )


def _matched(artifact: Artifact, runtime: str, events: Sequence[_Event]) -> Iterator[OperatorTime]:
    """Yield each event with the operator of the file that it is: by name, else the next of its family in order.

    No event passes over an operator that computes (a convolution, a linear layer): runtimes keep the order of those.
    """
    graph = artifact.graph
    works = list(kernel_works(graph, runtime))
    names = {kernel.operator.name: place for place, (kernel, _) in enumerate(works) if kernel.operator.name}
    at, taken = 0, set[int]()
    for event in events:
        place = names.get(event.name, -1) if event.name else -1
        if place < 0 or place in taken:
            place = _next_of_family(family_of(event.kind), [kernel.operator.kind for kernel, _ in works], at)
        if place < 0 or place in taken:
            yield OperatorTime(event.kind, event.ns)
            continue
        taken.add(place)
        at = max(at, place + 1)
        kernel, work = works[place]
        row = PRECISIONS.get(kernel.precision)
        moved = 0 if row is None else round(work.activations * row.value_bytes + work.weights * row.weight_bytes)
        name = short_name(graph.tensors[kernel.operator.outputs[0]].name)
        yield OperatorTime(event.kind, event.ns, name, place, kernel.precision, work.macs, moved)


def family_of(kind: str) -> str | None:
    """Return the family of an operator by the word that a file or a profiler has for it; None: of no family known."""
    word = "".join(letter for letter in kind.lower() if letter.isalnum())
    return next((name for name, words in _FAMILIES.items() if any(part in word for part in words)), None)


def _next_of_family(family: str | None, kinds: Sequence[str], start: int) -> int:
    """Return the first place from *start* on of that family, before any other that computes; -1: there is none."""
    if family is None:
        return -1
    for place in range(start, len(kinds)):
        own = family_of(kinds[place])
        if own == family:
            return place
        if own == "computing":
            return -1
    return -1


_Limits = Mapping[str, tuple[float, float]]  # precision → least ns a multiply-add, least ns a byte


def _limits(device: str, runtime: str, threads: int, operators: Sequence[OperatorTime]) -> tuple[_Limits, str]:
    """Return the machine's limits by precision, and what they rest on.

    They are the least costs of any kind of operator among the device's coefficients, which `devices calibrate`
    measures; without those the best that an operator of this file reaches.
    """
    found: dict[str, tuple[float, float]] = {}
    for model in latency_models(load_device(device)):
        if (model.runtime, model.threads) == (runtime, threads) and model.precision not in found:
            costs = [cost for cost in model.costs.values() if cost.ns_per_mac > 0 and cost.ns_per_byte > 0]
            if costs:
                least = min(cost.ns_per_mac for cost in costs), min(cost.ns_per_byte for cost in costs)
                found[model.precision] = least
    if found:
        return found, f"the coefficients of {device} for {runtime}, {threads} thread{'s' * (threads > 1)}"
    for precision in {one.precision for one in operators if one.precision}:
        own = [one for one in operators if one.precision == precision and one.moved_bytes]
        computing = [one.ns / one.macs for one in own if one.macs]
        moving = [one.ns / one.moved_bytes for one in own]
        if precision is not None and moving:
            found[precision] = (min(computing, default=0.0), min(moving))
    return (
        found,
        "the fastest operator of this file by multiply-adds and by bytes; edgecnn devices calibrate measures more",
    )


def _with_limit(operator: OperatorTime, limits: _Limits) -> OperatorTime:
    """Return *operator* with the roofline's time: that of its multiply-adds or of its bytes, whichever is longer."""
    limit = limits.get(operator.precision or "")
    if limit is None or not operator.moved_bytes:
        return operator
    limit_ns = max(operator.macs * limit[0], operator.moved_bytes * limit[1])
    return OperatorTime(**{**asdict(operator), "limit_ns": limit_ns})


def with_float_files(files: Sequence[Path]) -> list[Path]:
    """Return *files*, and after each quantized one the float file of the same name that lies beside it."""
    found: list[Path] = []
    for path in files:
        found.append(path)
        stem, _, rest = path.name.rpartition(path.suffix)[0].rpartition(".")
        plain = path.with_name(f"{stem}.fp32{path.suffix}")
        if stem and rest in PRECISIONS and rest != "fp32" and plain.is_file():
            found.append(plain)
    return list(dict.fromkeys(found))


def slower_operators(profile: Profile, plain: Profile) -> list[SlowerOperator]:
    """Return the operators of a quantized file that take longer than in the float file *plain*, the most lost first.

    They match where both files compute the same multiply-adds in the same order, else by the name of the output.
    """
    mine, theirs = ([one for one in own.operators if one.macs and one.name is not None] for own in (profile, plain))
    if [one.macs for one in mine] == [one.macs for one in theirs]:
        pairs = list(zip(mine, theirs, strict=True))
    else:
        named = {one.name: one for one in theirs}
        pairs = [(one, named[one.name]) for one in mine if one.name in named]
    lost = [
        SlowerOperator(str(other.name), one.kind, one.ns, other.ns)
        for one, other in pairs
        if one.ns > other.ns + RESOLUTION_NS
    ]
    return sorted(lost, key=lambda one: one.float_ns - one.ns)


def pairs_of(profiles: Sequence[Profile]) -> list[tuple[Profile, Profile]]:
    """Return each quantized file with the float file of its network, profiled the same way."""

    def family(own: Profile) -> tuple[str, str, int, str]:
        return own.file.replace(f".{own.precision}.", "."), own.runtime, own.threads, own.target

    floats = {family(own): own for own in profiles if own.precision == "fp32"}
    return [(own, floats[family(own)]) for own in profiles if own.precision != "fp32" and family(own) in floats]


def lost_sentence(own: Profile, plain: Profile) -> str:
    """Return which operators take longer in the quantized file *own* than in the float file *plain*."""
    lost = slower_operators(own, plain)
    names = f"{Path(own.file).name} beside {Path(plain.file).name}"
    if not lost:
        return f"{names}: no operator that computes is slower in {own.precision}"
    texts = [f"{figure_text(own, one.ns)} instead of {figure_text(own, one.float_ns)}" for one in lost[:5]]
    shown = "; ".join(f"{one.kind} {one.name} {text}" for one, text in zip(lost, texts, strict=False))
    more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
    return f"{names}: slower in {own.precision}: {shown}{more}"


def figure_text(profile: Profile, ns: float) -> str:
    """Return *ns* as a duration, or as a count of instructions where the board has no clock."""
    return f"{ns:,.0f}" if profile.method == EMULATED else format_ns(ns)


def to_document(profiles: Sequence[Profile]) -> dict[str, Any]:
    """Return the JSON document of *profiles*, with the operators that int8 made slower."""
    lost = [
        {"file": own.file, "float_file": plain.file, "operators": [asdict(one) for one in slower_operators(own, plain)]}
        for own, plain in pairs_of(profiles)
    ]
    return {"schema_version": 1, "profiles": [own.to_json() for own in profiles], "slower_than_float": lost}


def check_profilable(files: Sequence[Path]) -> None:
    """Raise EdgecnnError where there is no file to profile."""
    if not files:
        raise EdgecnnError("give FILES to profile: .tflite or .onnx")


__all__ = [
    "OperatorTime",
    "Profile",
    "SlowerOperator",
    "check_profilable",
    "family_of",
    "figure_text",
    "lost_sentence",
    "pairs_of",
    "profile_file",
    "slower_operators",
    "to_document",
    "with_float_files",
]
