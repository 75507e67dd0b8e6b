"""`WEIGHTED`: the operators of TFLite that multiply by weights, and where they have what."""

from __future__ import annotations

from typing import NamedTuple


class Places(NamedTuple):
    """Which of an operator's inputs are what, and along which axis of the weights its filters lie."""

    image: int
    weights: int
    bias: int
    filters_axis: int


#: Kind → places; the layouts of the weights are those of the TFLite schema, see `edgecnn.formats.tflite`.
WEIGHTED = {
    "CONV_2D": Places(0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": Places(0, 1, 2, 3),
    "FULLY_CONNECTED": Places(0, 1, 2, 0),
    "TRANSPOSE_CONV": Places(2, 1, 3, 0),
}
