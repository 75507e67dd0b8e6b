"""Imported by the process that `tests/forked.py` forks from, once: what commands and pages import and work out.

A converter imports much of its own only when it converts; what another version of it lacks is passed over.
"""

from __future__ import annotations

import contextlib
import importlib

import remembered

for name in (
    *("torch", "torchvision", "torch.onnx", "torch._dynamo", "litert_torch", "ai_edge_quantizer.quantizer"),
    *("onnx", "onnxscript", "onnxsim", "onnxruntime.quantization", "matplotlib.pyplot", "torch_pruning"),
    *("torch.onnx._internal.exporter._compat", "onnxscript.function_libs.torch_lib.ops", "torch.export._trace"),
    *("torch._functorch.aot_autograd", "safetensors.torch", "networkx", "scipy.cluster.hierarchy"),
    *("jaxlib.mlir.dialects.mhlo", "litert_converter.mlir.dialects.builtin", "sympy.combinatorics.tensor_can"),
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

remembered.remember()
remembered.work_out()
