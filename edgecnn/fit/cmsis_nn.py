"""The scratch buffers that CMSIS-NN's kernels ask for on a Cortex-M, where they replace TFLite Micro's own.

Source of the sizes: the `*_get_buffer_size*` functions of ARM-software/CMSIS-NN, `Source/*/arm_*_get_buffer_sizes_s8.c`
(v7, 2026), built by GCC; each function below names its own. `helium` (MVE) and `dsp` are the instruction sets they
distinguish. Kernels other than int8 are the reference ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgecnn.fit.call import Call
from edgecnn.fit.micro_kernels import scratch_bytes
from edgecnn.fit.plan import align
from edgecnn.formats import Tensor

_REVERSE_MIN_CHANNELS = 16  # REVERSE_TCOL_EFFICIENT_THRESHOLD
_HELIUM_BLOCK = 124  # CH_IN_BLOCK_MVE
#: Operators whose kernels in `tensorflow/lite/micro/kernels/cmsis_nn` keep a little more than the reference ones (the
#: index of a scratch buffer, say): 16 bytes each are counted for it.
_KEEPING_MORE = frozenset(
    ["AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "SVDF", "TRANSPOSE_CONV"]
)
_KEPT_BYTES = 16
#: Operators with int8 kernels of which it is not known what they take.
NOT_MODELLED = frozenset(["BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM"])


def kept_bytes(call: Call, instructions: str | None) -> int:
    """Return how much more than the reference kernel an operator's kernel keeps for good.

    Args:
        call: the operator with its tensors.
        instructions: `helium`, `dsp`, or None for a core with neither.
    """
    if call.kind not in _KEEPING_MORE or not call.given:
        return 0
    # arm_svdf_s8_get_buffer_size: the sums of each filter's weights, which helium needs.
    sums = call.kind == "SVDF" and instructions == "helium" and call.given[0].dtype == "int8"
    return _KEPT_BYTES + (4 * call.given[1].shape[0] if sums else 0)


def cmsis_nn_scratch(instructions: str | None) -> Callable[[Call], tuple[int, ...]]:
    """Return the function that says what an operator's kernel asks for, given `helium`, `dsp` or neither."""
    return partial(_scratch, instructions)


def _scratch(instructions: str | None, call: Call) -> tuple[int, ...]:
    inputs = call.given
    if not inputs or not call.outputs or {inputs[-1].dtype, inputs[0].dtype}.isdisjoint({"int8"}):
        return scratch_bytes(call)
    output = call.outputs[0]
    if call.kind == "CONV_2D" and inputs[1].dtype == "int8":
        size = _conv(call, inputs[0], inputs[1], output, instructions)
    elif call.kind == "DEPTHWISE_CONV_2D" and inputs[1].dtype == "int8":
        size = _depthwise(call, inputs[0], inputs[1], output, instructions)
    elif call.kind == "TRANSPOSE_CONV":
        return _transpose_conv(call, inputs[2], inputs[1], output, instructions)
    elif call.kind == "FULLY_CONNECTED" and inputs[1].dtype == "int8":
        # arm_fully_connected_s8_get_buffer_size: sums of the weights of each output, kept by the helium kernel.
        size = 4 * output.shape[-1] if instructions == "helium" else 0
    elif call.kind == "AVERAGE_POOL_2D":
        # arm_avgpool_s8_get_buffer_size: one int32 sum a channel.
        size = 4 * inputs[0].shape[-1] if instructions == "dsp" else 0
    else:
        return scratch_bytes(call)
    return (size,) if size else ()


def _columns(channels: int, weights: Tensor, instructions: str | None) -> int:
    """Return the im2col buffer: arm_convolve_s8_get_buffer_size, 4 int8 columns on helium, else 2 of int16."""
    length = channels * weights.shape[1] * weights.shape[2]
    return 4 * align(length, 16) if instructions == "helium" else 2 * 2 * align(length, 4)


def _conv(call: Call, image: Tensor, weights: Tensor, output: Tensor, instructions: str | None) -> int:
    """Return arm_convolve_wrapper_s8_get_buffer_size; its 1xN case on helium counts as the general one."""
    dilated = max(call.options.get("dilation_h", 1), call.options.get("dilation_w", 1)) > 1
    if weights.shape[1:3] == (1, 1) and not dilated:
        return 0
    return _columns(image.shape[3], weights, instructions)


def _depthwise(call: Call, image: Tensor, weights: Tensor, output: Tensor, instructions: str | None) -> int:
    """Return arm_depthwise_conv_wrapper_s8_get_buffer_size."""
    dilated = max(call.options.get("dilation_h", 1), call.options.get("dilation_w", 1)) > 1
    if image.shape[3] != output.shape[3] or image.shape[0] != 1 or dilated:
        return 0
    area = weights.shape[1] * weights.shape[2]
    if instructions == "helium":
        return 4 * _HELIUM_BLOCK * area
    # 3x3 never pads by more than 1, so that its own kernel, which needs nothing, takes it.
    return 2 * image.shape[3] * area if instructions == "dsp" and weights.shape[1:3] != (3, 3) else 0


def _transpose_conv(
    call: Call, image: Tensor, weights: Tensor, output: Tensor, instructions: str | None
) -> tuple[int, ...]:
    """Return arm_transpose_conv_s8_get_buffer_size and arm_transpose_conv_s8_get_reverse_conv_buffer_size."""
    stride_h, stride_w = call.options.get("stride_h", 1), call.options.get("stride_w", 1)
    kernel_h, kernel_w, channels = weights.shape[1], weights.shape[2], image.shape[3]
    if max(stride_h, stride_w) <= 2 and channels > _REVERSE_MIN_CHANNELS:
        return _columns(channels, weights, instructions), channels * kernel_h * kernel_w * weights.shape[0]
    width = ((image.shape[2] - 1) * stride_w + max(kernel_w, stride_h)) * output.shape[3]
    return (4 * width * max(kernel_h, stride_h),)
