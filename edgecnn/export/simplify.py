"""Simplify an ONNX model, and keep what that gives only where it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import library_error, require
from edgecnn.export.means import pool_means

#: How far outputs may differ, as a share of the largest value: float32 sums in another order.
_ROUNDING = 1e-4


def simplified(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return *model* after onnxsim and with its means written as pools, and a note where it could not be so.

    Each step is tried beside the exporter's model on one sample of noise, in onnxruntime: what fails, or gives other
    outputs, is left out.

    Args:
        model: an onnx `ModelProto` of fixed input shapes; it is left as it is.
    """
    onnx = require("onnx", "torch")
    onnxsim = require("onnxsim", "torch")

    def smaller() -> Any:
        made, same = onnxsim.simplify(model)
        if not same:
            raise ValueError("its own check of the result failed")
        return _pooled(onnx, made)

    notes: list[str] = []
    expected = outputs_of_noise(model)
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (("onnxsim", smaller), ("a mean", lambda: _pooled(onnx, model)))
    for name, step in steps:
        try:
            made = step()
            if are_same(expected, outputs_of_noise(made)):
                return made, tuple(notes)
            reason = "changed what the network computes"
        except Exception as error:  # native code of many releases: whatever it raises, the exporter's model is good
            reason = f"failed ({library_error(error)})"
        notes.append(f"{name} {reason}: the exporter's ONNX is kept unchanged")
    return model, tuple(notes)


def _pooled(onnx: Any, model: Any) -> Any:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    pool_means(onnx, made)
    return made


def outputs_of_noise(model: Any) -> list[npt.NDArray[Any]]:
    """Return the outputs of an onnx `ModelProto` for one sample: normal noise, the same each time; zeros for integers.

    Raises:
        Exception: what onnxruntime raises where it cannot run the model.
    """
    session = _session(model)
    draw = np.random.default_rng(0)
    sample = {}
    for spec in session.get_inputs():
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in spec.shape]
        dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(spec.type, spec.type[7:-1])
        is_float = "float" in dtype
        sample[spec.name] = (draw.standard_normal(shape) if is_float else np.zeros(shape)).astype(dtype)
    return list(session.run(None, sample))


def values_of(
    model: Any, names: Sequence[str], samples: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> Iterator[list[npt.NDArray[Any]]]:
    """Yield the values of the tensors *names* of an onnx `ModelProto` for each sample, arrays by input name."""
    onnx = require("onnx", "torch")
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {output.name for output in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = _session(shown)
    for sample in samples:
        yield session.run(list(names), dict(sample))


def _session(model: Any) -> Any:
    """Return *model* in onnxruntime, as it stands: no operator is fused with another."""
    onnxruntime = require("onnxruntime", "torch")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def are_same(expected: list[npt.NDArray[Any]], given: list[npt.NDArray[Any]]) -> bool:
    """Return whether two lists of outputs are the same to rounding."""
    if [a.shape for a in expected] != [b.shape for b in given]:
        return False
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(expected, given, strict=True)]
    return all(
        np.allclose(a, b, rtol=0, atol=_ROUNDING * float(np.nanmax(np.abs(a), initial=1e-30)), equal_nan=True)
        for a, b in pairs
    )


__all__ = ["are_same", "outputs_of_noise", "simplified", "values_of"]
