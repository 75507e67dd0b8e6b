"""What `edgecnn export` costs beside calling the converters and quantizers by hand on the same work.

    python benchmarks/export_overhead.py [--rounds 3] [--network resnet18]

Both sides, each in a process of its own and in turns: write ONNX and TFLite in fp32 and w8a8 (calibrated on the same
32 samples), then run the network in torch and each of the four files in its runtime on 32 other samples. The result
goes to benchmarks/tables/spine/export_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 224
SAMPLES = 32
THREADS = len(os.sched_getaffinity(0))
RESULT = Path(__file__).parent / "tables" / "spine" / "export_overhead.json"


def ours(network: str, folder: Path) -> None:
    """Export with edgecnn."""
    from edgecnn.datasets import DataSource
    from edgecnn.pipeline import export_model

    export_model(f"torchvision:{network}", folder, recipe="board", data=DataSource(input_shape=(3, SIDE, SIDE)))


def direct(network: str, folder: Path) -> None:
    """Export with the same tools, called directly, without checks and without metadata."""
    import litert_torch
    import numpy as np
    import onnx
    import onnxruntime
    import onnxsim
    import torch
    import torchvision
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe
    from onnxruntime import quantization

    module = torchvision.models.get_model(network).eval()
    calibration, evaluation = (
        [
            np.random.default_rng((seed, i)).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
            for i in range(SAMPLES)
        ]
        for seed in (0, 1)
    )
    example = torch.zeros(1, 3, SIDE, SIDE)

    torch.onnx.export(module, (example,), dynamo=True, input_names=["input"]).save(folder / "raw.onnx")
    model, _ = onnxsim.simplify(onnx.load(folder / "raw.onnx"))
    onnx.save(model, folder / "fp32.onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.rest, None)
            return None if x is None else {"input": x}

    quantization.shape_inference.quant_pre_process(folder / "fp32.onnx", folder / "pre.onnx", skip_symbolic_shape=True)
    quantization.quantize_static(folder / "pre.onnx", folder / "w8a8.onnx", Reader(), per_channel=True)

    last = litert_torch.to_channel_last_io(module, args=[0]).eval()
    litert_torch.convert(last, (example.permute(0, 2, 3, 1).contiguous(),)).export(str(folder / "fp32.tflite"))
    quantizer_ = quantizer.Quantizer(str(folder / "fp32.tflite"), recipe.static_wi8_ai8())
    inputs = [{"args_0": x.transpose(0, 2, 3, 1)} for x in calibration]
    quantizer_.quantize(quantizer_.calibrate({"serving_default": inputs}, num_threads=THREADS)).export_model(
        str(folder / "w8a8.tflite")
    )

    with torch.no_grad():
        module(torch.from_numpy(np.concatenate(evaluation)))
    for name in ("fp32", "w8a8"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options)
        interpreter = Interpreter(str(folder / f"{name}.tflite"), num_threads=THREADS)
        interpreter.allocate_tensors()
        entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        for x in evaluation:
            session.run(None, {"input": x})
            y = x.transpose(0, 2, 3, 1)
            if entry["dtype"] is np.int8:
                scale, zero_point = entry["quantization"]
                y = np.clip(np.rint(y / scale) + zero_point, -128, 127).astype(np.int8)
            interpreter.set_tensor(entry["index"], y)
            interpreter.invoke()
            interpreter.get_tensor(exit_["index"])


def timed(side: str, network: str) -> float:
    """Return the wall seconds of one side in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        command = [sys.executable, __file__, "--side", side, "--network", network, "--folder", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begin


def main() -> None:
    """Run one side, or both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "direct"))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        (ours if given.side == "ours" else direct)(given.network, given.folder)
        return
    seconds: dict[str, list[float]] = {"ours": [], "direct": []}
    for round_ in range(given.rounds):
        for side in sorted(seconds, reverse=bool(round_ % 2)):
            seconds[side].append(timed(side, given.network))
            print(f"{side}: {seconds[side][-1]:.1f} s", flush=True)
    ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["direct"], strict=True))
    print(f"ratio, median of {given.rounds} rounds: {ratio:.3f} (at most 1.25)")
    document = {"network": given.network, "side_px": SIDE, "samples": SAMPLES, "seconds": seconds, "ratio": ratio}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(document | {"machine": platform.processor() or platform.machine()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
