"""Whether a smaller precision made a file faster, which it does not on every machine, and what may be the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecnn.formats import Graph
from edgecnn.formats.precision import PRECISIONS, computed_precisions
from edgecnn.measurement import Measurement
from edgecnn.units import format_count, format_ns

#: Instructions that multiply and add four int8 values or more at once; without them int8 is hardly faster than fp32.
_INT8_FEATURES = ("dotprod", "i8mm", "avx512_vnni", "avx_vnni", "amx_int8")
#: Of an operator with fewer multiply-adds the call itself costs as much as its arithmetic.
_FEW_MACS = 20_000


def missing_gains(results: Sequence[Measurement]) -> list[str]:
    """Return a sentence for each quantized file that is no faster than its fp32 file under the same settings."""
    return [
        f"{Path(result.file).name} is no faster than {Path(plain.file).name} here "
        f"({format_ns(result.p50_ns)} against {format_ns(plain.p50_ns)}, {result.runtime}, "
        f"{result.threads} thread{'s' * (result.threads > 1)}): on this machine it is only smaller"
        for result, plain in without_gain(results)
    ]


def without_gain(results: Sequence[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Return each quantized file that is no faster than its fp32 file under the same settings, with that file."""
    floats = {_family(result): result for result in results if result.precision == "fp32"}
    return [
        (result, plain)
        for result in results
        if result.precision != "fp32"
        and (plain := floats.get(_family(result))) is not None
        and result.p50_ns is not None
        and plain.p50_ns is not None
        and result.p50_ns >= plain.p50_ns
    ]


def likely_reasons(result: Measurement, graph: Graph) -> Iterator[str]:
    """Yield what may keep the quantized file *graph* from being faster, as far as file and machine tell.

    Args:
        result: its measurement; what the machine's processor can do is among its conditions.
        graph: what the file says.
    """
    row = PRECISIONS.get(result.precision)
    if row is not None and row.activations == "float32":
        yield f"{result.precision} makes weights smaller; the operators still compute in float32"
    else:
        computed = zip(graph.operators, computed_precisions(graph), strict=True)
        floats = Counter(op.kind for op, precision in computed if op.macs and precision.activations == "float32")
        if floats:
            yield f"these operators still compute in float32: {_counted(floats)}"
        if row is not None and row.activations == "int16" and result.runtime == "litert":
            yield "LiteRT has no fast kernels for int16 activations"
        features = result.conditions.get("features")
        if features is not None and not set(_INT8_FEATURES) & set(features):
            yield f"the processor has no int8 dot product instruction ({', '.join(_INT8_FEATURES)})"
        if all(spec.dtype == "float32" for spec in (*graph.input_specs, *graph.output_specs)):
            yield "its inputs and outputs are float32, so every call converts them"
    macs = sum(operator.macs for operator in graph.operators)
    if graph.operators and macs < _FEW_MACS * len(graph.operators):
        each = format_count(macs // len(graph.operators))
        yield (
            f"the network is small, {each} multiply-adds an operator: the overhead of each operator is as large as its "
            "computation"
        )


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.most_common())


def _family(result: Measurement) -> tuple[str, str, int, str]:
    """Return what two files of one network have in common: the name but for the precision, and how it was run."""
    return (result.file.replace(f".{result.precision}.", "."), result.runtime, result.threads, result.device)
