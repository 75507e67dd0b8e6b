"""Google's TFLite quantizer, by either of its names: nothing else in edgecnn imports it.

`litert-quantizer` is what `ai-edge-quantizer` is called from version 0.11 on; the older one gets no more changes.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgecnn.errors import require

#: Package that an import names → what installs it; the first that is there is used.
PACKAGES: Mapping[str, str] = {"litert_quantizer": "litert-quantizer", "ai_edge_quantizer": "ai-edge-quantizer"}
_LINEAR = "FULLY_CONNECTED"

Rules = list[dict[str, Any]]  # the quantizer's own recipe
Ranges = dict[str, Any]  # tensor name → its smallest and largest value, `min` and `max`


@dataclass(frozen=True)
class Quantizer:
    """The quantizer under the name *package*."""

    package: str

    @classmethod
    def find(cls) -> Quantizer:
        """Return the one that is installed, the newer where both are; without any, using it says what to install."""
        installed = [name for name in PACKAGES if importlib.util.find_spec(name)]
        return cls(installed[0] if installed else "ai_edge_quantizer")

    @property
    def distribution(self) -> str:
        """What installs it."""
        return PACKAGES[self.package]

    def rules(self, precision: str, input_dtype: str = "float32", output_dtype: str = "float32") -> Rules:
        """Return the rules for a *precision*; `w8a8` and `w8a16` have float inputs and outputs where these say it."""
        recipes = self._module("recipe")
        if precision == "w8":
            return list(recipes.dynamic_wi8_afp32())
        if precision == "w4":
            # Of AlexNet's linear layers LiteRT 2.3.0 computes these in integers, in 0.6 ms; it unpacks those of the
            # quantizer's recipe `weight_only_wi4_afp32` to float first, for 3.6 ms and twice the memory: same size.
            return [*recipes.dynamic_wi8_afp32(), {**recipes.dynamic_wi4_afp32()[0], "operation": _LINEAR}]
        if precision == "fp16":
            weights = {"num_bits": 16, "dtype": "FLOAT", "granularity": "TENSORWISE", "symmetric": True}
            config = {"weight_tensor_config": weights, "compute_precision": "FLOAT", "explicit_dequantize": True}
            return [{"regex": ".*", "operation": "*", "algorithm_key": "float_casting", "op_config": config}]
        static = recipes.static_wi8_ai16 if precision == "w8a16" else recipes.static_wi8_ai8
        rules: Rules = json.loads(json.dumps(static()))
        for operation, dtype in (("INPUT", input_dtype), ("OUTPUT", output_dtype)):
            if dtype == "float32":
                rules.append({"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"})
        return rules

    def in_float(self, tensors: Iterable[str]) -> Rules:
        """Return the rules that keep the operators in float that give these *tensors*, by name."""
        return [
            {"regex": f"^{re.escape(name)};?$", "operation": "*", "algorithm_key": "no_quantize"} for name in tensors
        ]

    def ranges(
        self, content: bytes, rules: Rules, signature: str, chunks: Iterable[Any], *, library_default: bool = False
    ) -> Ranges:
        """Return the smallest and largest value of every tensor over all samples of *chunks*, by tensor name.

        The quantizer's own default is a moving average over the samples: it forgets the extremes and clips them.

        Args:
            content: the fp32 file.
            rules: what will be quantized.
            signature: key of the file's signature.
            chunks: iterables of samples, each a dict of arrays by input name.
            library_default: find the ranges as the quantizer does by itself, to compare with it.
        """
        manager = self._module("recipe_manager").RecipeManager()
        manager.load_quantization_recipe(rules)
        update = {} if library_default else {"qsv_update_func": self._module("utils.qsv_utils").min_max_update}
        calibrator = self._module("calibrator").Calibrator(content, num_threads=2, **update)
        for chunk in chunks:
            calibrator.calibrate({signature: chunk}, manager)
        return dict(calibrator.get_model_qsvs())

    def quantize(self, content: bytes, rules: Rules, ranges: Ranges | None) -> bytes:
        """Return the fp32 file *content* quantized by *rules*, with *ranges* where those are static."""
        quantizer = self._module("quantizer").Quantizer(content, rules)
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)

    def _module(self, name: str) -> ModuleType:
        return require(f"{self.package}.{name}", "torch")


__all__ = ["PACKAGES", "Quantizer"]
