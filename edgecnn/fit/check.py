"""`check_fit`: whether an exported file fits the memory of a device, by reading the file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.device import DeviceProfile, MemoryRegion, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.fit import micro, process
from edgecnn.fit.advice import next_steps, short_name
from edgecnn.fit.cmsis_nn import cmsis_nn_scratch
from edgecnn.fit.micro_kernels import unsupported_by_micro
from edgecnn.fit.plan import Buffer, live_bytes, plan_greedy, planned_bytes
from edgecnn.fit.report import FitReport, Peak, RegionUse
from edgecnn.formats import Graph, read_graph
from edgecnn.formats.tflite_schema import OPERATORS
from edgecnn.units import format_bytes

_LARGEST = 4  # tensors shown of the peak
_CMSIS_PART = "CMSIS-NN scratch"


def check_fit(
    model: Graph | Path | str,
    device: DeviceProfile | str | None = None,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
) -> FitReport:
    """Return what *model* takes of each memory of *device*, or of a bare microcontroller with the given budgets.

    A microcontroller runs TFLite Micro; anything else LiteRT or onnxruntime, by the format of the file.

    Raises:
        EdgecnnError: no such file or device, a broken file, neither device nor budget, or ONNX for a microcontroller.
    """
    graph = model if isinstance(model, Graph) else read_graph(model)
    file = "" if isinstance(model, Graph) else str(model)
    profile = load_device(device) if isinstance(device, str) else device or _bare(ram_bytes, flash_bytes)
    check = _check_microcontroller if profile.kind == "mcu" else _check_process
    try:
        return check(graph, file, profile)
    except (IndexError, KeyError) as error:
        # The reader knows that every tensor is there, not how many each kind of operator needs.
        raise EdgecnnError(f"{file}: broken file: an operator lacks a tensor; copy or export it again") from error


def _bare(ram_bytes: int | None, flash_bytes: int | None) -> DeviceProfile:
    """Return a microcontroller of which nothing but its budgets is known."""
    given = {"ram": ram_bytes, "flash": flash_bytes}
    memory = tuple(MemoryRegion(name, size) for name, size in given.items() if size is not None)
    if not memory:
        raise EdgecnnError("what should it fit? give a device (--device), or budgets (--ram, --flash)")
    name = ", ".join(f"{format_bytes(region.size)} {region.name}" for region in memory)
    return DeviceProfile(name, name, "mcu", "unknown", sources={}, memory=memory)


def _check_microcontroller(graph: Graph, file: str, profile: DeviceProfile) -> FitReport:
    if graph.format != "tflite":
        raise EdgecnnError(f"{file}: {profile.name} runs TFLite Micro, which reads .tflite files alone; export one")
    arena, host = micro.plan_micro(graph, 4), micro.plan_micro(graph, 8)
    instructions = next((name for name in ("helium", "dsp") if name in profile.features), None)
    runs_cmsis = profile.arch.startswith("cortex-m")
    optimized = micro.plan_micro(graph, 4, cmsis_nn_scratch(instructions)) if runs_cmsis else arena
    # Below zero where CMSIS-NN's kernel asks for less than the reference one.
    scratch = optimized.total_bytes - arena.total_bytes
    runtime = profile.runtimes.get("tflite-micro")
    ram = {"tensors (arena head)": arena.head_bytes, **{f"arena: {part}": size for part, size in arena.tail.items()}}
    ram |= {_CMSIS_PART: scratch} if runs_cmsis else {}
    flash = {"model file": graph.size_bytes}
    flash |= {"TFLite Micro": runtime.flash} if runtime and runtime.flash else {}
    ram |= {"TFLite Micro": runtime.ram} if runtime and runtime.ram else {}
    regions = _regions(profile, {"ram": ram, "flash": flash})
    notes = [
        "the arena is estimated for 4-byte pointers, as on a microcontroller; "
        f"on a 64-bit host it is {host.total_bytes} bytes",
        "flash counts the file"
        + (" and the core of TFLite Micro" if "TFLite Micro" in flash else "")
        + ", not the kernels and the firmware",
    ]
    if runs_cmsis:
        notes.append(
            f"with CMSIS-NN kernels ({instructions or 'no DSP'}) set the arena to {optimized.total_bytes} bytes"
        )
    return FitReport(
        file=file,
        device=profile.name,
        regions=regions,
        arena_bytes=arena.total_bytes,
        arena_head_bytes=arena.head_bytes,
        peak=_peak(graph, arena.buffers, arena.live_bytes, first_step=1),
        live_bytes=arena.live_bytes,
        unsupported_operators=_unsupported(graph, profile, unsupported_by_micro(graph)),
        next_steps=next_steps(graph, regions, arena.head_bytes),
        notes=tuple(notes),
        arena_bytes_by_pointer={4: arena.total_bytes, 8: host.total_bytes},
        pointer_bytes=4,
    )


def _check_process(graph: Graph, file: str, profile: DeviceProfile) -> FitReport:
    buffers = process.activation_buffers(graph)
    arena_bytes = planned_bytes(buffers, plan_greedy(buffers, process.ALIGNMENT), process.ALIGNMENT)
    live = live_bytes(buffers, len(graph.operators), process.ALIGNMENT)
    runtime = process.runtime_of(graph)
    cost = profile.runtimes.get(runtime)
    parts = process.memory_parts(graph, arena_bytes)
    notes = ["the peak resident memory of a Python process with one thread"]
    if cost is None or cost.ram is None:
        notes.append(f"what {runtime} itself takes on {profile.name} is not known, and not counted")
    else:
        parts = {f"{runtime} itself": cost.ram, **parts}
    regions = _regions(profile, {"ram": parts})
    known = {"Detection_PostProcess", *OPERATORS} if graph.format == "tflite" else None
    foreign = [op.kind for op in graph.operators if known and op.kind.removeprefix("TFLite_") not in known]
    return FitReport(
        file=file,
        device=profile.name,
        regions=regions,
        arena_bytes=arena_bytes,
        arena_head_bytes=arena_bytes,
        peak=_peak(graph, buffers, live, first_step=0),
        live_bytes=live,
        unsupported_operators=_unsupported(graph, profile, foreign),
        next_steps=next_steps(graph, regions, arena_bytes),
        notes=tuple(notes),
    )


def _regions(profile: DeviceProfile, parts: dict[str, dict[str, int]]) -> tuple[RegionUse, ...]:
    return tuple(
        RegionUse(region.name, region.limit_bytes, parts[region.name])
        for region in profile.memory
        if region.name in parts
    )


def _unsupported(graph: Graph, profile: DeviceProfile, by_runtime: Sequence[str]) -> tuple[str, ...]:
    by_device = {operator.kind for operator in graph.operators} & set(profile.unsupported_operators)
    return tuple(sorted({*by_runtime, *by_device}))


def _peak(graph: Graph, buffers: Sequence[Buffer], live: Sequence[int], first_step: int) -> Peak | None:
    """Return the operator at which the most bytes live; *first_step* is the step of operator 0 in *buffers*."""
    if not live:
        return None
    index = max(range(len(live)), key=lambda i: live[i])
    step, operator = index + first_step, graph.operators[index]
    alive = [buffer for buffer in buffers if buffer.first <= step <= buffer.last]
    largest = sorted(alive, key=lambda buffer: -buffer.size_bytes)[:_LARGEST]
    return Peak(
        operator=f"{operator.kind} {short_name(operator.name)}".strip(),
        step=index,
        live_bytes=live[index],
        tensors=tuple((short_name(buffer.name), buffer.size_bytes) for buffer in largest),
    )
