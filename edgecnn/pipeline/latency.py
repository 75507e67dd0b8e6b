"""What the operators of a torch network take on a device: predicted before there is a file, to rank cuts by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from edgecnn.device import DeviceProfile, LatencyModel
from edgecnn.estimate.cores import latency_models
from edgecnn.estimate.fitting import amounts_of, as_array
from edgecnn.estimate.latency import find_model, usual_runtime
from edgecnn.estimate.work import Blocks, Work, kind_of_convolution, winograd_applies

if TYPE_CHECKING:
    from edgecnn.compress.counting import RanOperator

#: Of the file whose latency a budget limits.
PRECISION = "w8a8"


def model_for(device: DeviceProfile) -> LatencyModel:
    """Return the coefficients for a w8a8 TFLite file on one thread of *device*.

    Raises:
        NoCoefficientsError: there are none; the message says which there are and how to get them.
    """
    whole = replace(device, latency=latency_models(device))
    return find_model(whole, usual_runtime(whole, "tflite"), PRECISION, 1)


def predict_ns(model: LatencyModel, operators: Sequence[RanOperator]) -> float:
    """Return what *operators* take together, as the file that comes of them would.

    The file's own estimate counts what only the exporter knows, padding and copies, and is what a goal is held against.
    """
    blocks = Blocks(model.input_block, model.output_block, model.winograd)
    return float((as_array(model.costs) * amounts_of(map(_work, operators), PRECISION, blocks)).sum())


def shortest_ns(model: LatencyModel) -> float:
    """Return what a network takes that computes nothing: to start one operator."""
    return min(cost.ns_per_operator for cost in model.costs.values())


def _work(ran: RanOperator) -> Work:
    if ran.kind != "convolution":
        return Work(ran.kind, ran.macs, ran.inputs, ran.outputs, ran.activations, ran.weights)
    inner = ran.inputs // ran.groups
    kind = kind_of_convolution(prod(ran.kernel), ran.inputs, ran.groups)
    made = ran.outputs if kind == "depthwise" else ran.outputs // ran.groups
    winograd = kind == "conv" and winograd_applies(ran.kernel, ran.stride, inner, made)
    return Work(kind, ran.macs, inner, made, ran.activations, ran.weights, winograd)
