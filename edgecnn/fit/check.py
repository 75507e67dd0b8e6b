"""`check_fit`: whether an exported file fits the memory of a device, by reading the file alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecnn.artifact import METADATA_KEY
from edgecnn.datasets import DATASETS
from edgecnn.device import DeviceProfile, RuntimeCost
from edgecnn.errors import EdgecnnError
from edgecnn.fit import micro, process
from edgecnn.fit.advice import HEAD_PART, can_be_pruned_to_fit, next_steps, short_name
from edgecnn.fit.arena import arena_to_set, arenas_to_set, instruction_sets, not_counted
from edgecnn.fit.limits import MOST_MICRO_RAM_BYTES, device_within
from edgecnn.fit.micro_support import unsupported_by_micro
from edgecnn.fit.plan import Buffer, live_bytes, plan_greedy, planned_bytes
from edgecnn.fit.report import FitReport, Peak, RegionUse
from edgecnn.fit.variants import with_quantized_io
from edgecnn.formats import Graph, read_graph
from edgecnn.formats.tflite_schema import OPERATORS
from edgecnn.units import format_bytes

_LARGEST = 4  # tensors shown of the peak
_CMSIS_PART = "CMSIS-NN scratch"
_MICRO = "tflite-micro"  # as device profiles name it


def check_fit(
    model: Graph | Path | str,
    device: DeviceProfile | Path | str | None = None,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    kind: str | None = None,
) -> FitReport:
    """Return what *model* takes of each memory of *device*, of a budget on it, or of a bare device with that budget.

    A microcontroller runs TFLite Micro; anything else LiteRT or onnxruntime, by the format of the file.

    Args:
        model: a file, or what it says.
        device: a profile, or its name; None: nothing but the budgets is known.
        ram_bytes: of RAM, in place of the device's.
        flash_bytes: of flash, likewise.
        kind: of the device of which nothing but the budgets is known: "mcu" or "linux"; None: "mcu" where flash is
            given or the RAM is at most `MOST_MICRO_RAM_BYTES`.

    Raises:
        EdgecnnError: no such file or device, a broken file, nothing known of the memory, or ONNX for a microcontroller.

    Example:
        >>> edgecnn.check_fit("classifier.tflite", "stm32h7a3").fits
        True
        >>> edgecnn.check_fit("classifier.tflite", ram_bytes=1024, flash_bytes=65536).fits
        False
    """
    graph = model if isinstance(model, Graph) else read_graph(model)
    file = "" if isinstance(model, Graph) else str(model)
    profile = device_within(device, ram_bytes=ram_bytes, flash_bytes=flash_bytes, kind=kind)
    if not any(profile.region(name) for name in (("ram", "flash") if profile.kind == "mcu" else ("ram",))):
        raise EdgecnnError(f"{profile.name}: its memory is unknown; give --ram, or use another device")
    check = _check_microcontroller if profile.kind == "mcu" else _check_process
    try:
        report = check(graph, file, profile)
    except (IndexError, KeyError) as error:
        # The reader knows that every tensor is there, not how many each kind of operator needs.
        raise EdgecnnError(f"{file}: broken file: an operator lacks a tensor; copy or export it again") from error
    if device is None and kind is None:
        report = replace(report, notes=(_assumed(profile), *report.notes))
    if not report.next_steps or report.unsupported_operators:
        return report
    if not can_be_pruned_to_fit(graph, report.regions, is_microcontroller=profile.kind == "mcu"):
        return report
    line = _compress_line(graph, device, ram_bytes, flash_bytes)
    return replace(report, next_steps=(*report.next_steps, f"make it smaller: {line}"))


def _compress_line(
    graph: Graph, device: DeviceProfile | Path | str | None, ram_bytes: int | None, flash_bytes: int | None
) -> str:
    """Return the command that makes the network of *graph* fit; the data are those it was calibrated with."""
    name = device.name if isinstance(device, DeviceProfile) else None if device is None else str(device)
    goals = [("--fit", name), ("--ram", _size(ram_bytes)), ("--flash", _size(flash_bytes))]
    words = " ".join(f"{option} {shlex.quote(value)}" for option, value in goals if value is not None)
    return f"edgecnn compress MODEL --data {shlex.quote(_data_of(graph))} {words} -o small.safetensors"


def _size(size_bytes: int | None) -> str | None:
    """Return a size as `--ram` reads it, to the byte."""
    if size_bytes is None:
        return None
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return f"{size_bytes}B"


def _data_of(graph: Graph) -> str:
    """Return the data set that the metadata name; DATA where they name none."""
    try:
        name = json.loads(graph.metadata.get(METADATA_KEY, b"{}"))["calibration"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "DATA"
    return name if isinstance(name, str) and name in DATASETS.rows else "DATA"


def _assumed(profile: DeviceProfile) -> str:
    """Say what kind of device the budgets were taken for."""
    if profile.kind == "mcu":
        return "checked as a microcontroller; --kind linux checks a Linux process instead"
    most = format_bytes(MOST_MICRO_RAM_BYTES)
    return f"checked as a Linux board, since no microcontroller has more than {most}; --kind mcu checks one instead"


def _check_microcontroller(graph: Graph, file: str, profile: DeviceProfile) -> FitReport:
    if graph.format != "tflite":
        raise EdgecnnError(
            f"{file}: {profile.name} runs TFLite Micro, which only reads .tflite files; export one, or give another "
            f"device"
        )
    arena = micro.plan_micro(graph, 4)
    regions = _micro_regions(graph, profile)
    used = {region.name: region for region in regions}
    arenas = arenas_to_set(graph, profile)
    notes = [
        f"set the arena to {arenas[4]} bytes: estimated for 4-byte pointers, as on a microcontroller, and the larger "
        f"of TFLite Micro's own and CMSIS-NN's kernels; on a 64-bit host, with its own ones, {arenas[8]} bytes"
    ]
    if "flash" in used:
        notes.append(
            f"flash counts the file and the core of TFLite Micro ({_core_source(profile)}), "
            "not the kernels and the firmware"
        )
    small = with_quantized_io(graph)
    if "ram" in used and small is not graph:
        ram = next(region for region in _micro_regions(small, profile) if region.name == "ram")
        notes.append(
            "its input or output is float: with int8 ones (edgecnn export --recipe mcu) it would take about "
            f"{format_bytes(ram.used_bytes)} of ram"
        )
    return FitReport(
        file=file,
        device=profile.name,
        regions=regions,
        arena_bytes=arenas[4],
        arena_head_bytes=arena.head_bytes,
        peak=_peak(graph, arena.buffers, arena.live_bytes, arena.steps),
        live_bytes=arena.live_bytes,
        unsupported_operators=_unsupported(graph, profile, unsupported_by_micro(graph)),
        next_steps=next_steps(
            graph, regions, lambda changed: _micro_regions(changed, profile), is_microcontroller=True
        ),
        warnings=tuple(not_counted(graph, profile)),
        notes=(*notes, *_unknown_system(profile, "the firmware and its stack take")),
        arena_bytes_by_pointer=arenas,
        pointer_bytes=4,
    )


def _micro_regions(graph: Graph, profile: DeviceProfile) -> tuple[RegionUse, ...]:
    """Return what *graph* takes of a microcontroller's memories with TFLite Micro."""
    arena = micro.plan_micro(graph, 4)
    ram = {HEAD_PART: arena.head_bytes, **{f"arena: {part}": size for part, size in arena.tail.items()}}
    before = arena.total_bytes - arena.head_bytes - arena.tail_bytes
    ram |= {"arena: to lay it out, before the first run": before} if before else {}
    if instruction_sets(profile):
        ram[_CMSIS_PART] = arena_to_set(graph, profile) - arena.total_bytes
    cost = profile.runtimes.get(_MICRO, RuntimeCost())
    ram |= {"TFLite Micro": cost.ram_bytes} if cost.ram_bytes else {}
    core_bytes = micro.CORE_FLASH_BYTES if cost.flash_bytes is None else cost.flash_bytes
    return _regions(profile, {"ram": ram, "flash": {"model file": graph.size_bytes, "TFLite Micro": core_bytes}})


def _core_source(profile: DeviceProfile) -> str:
    """Return where the size of TFLite Micro's core comes from."""
    cost = profile.runtimes.get(_MICRO)
    if cost is None or cost.flash_bytes is None:
        return f"{format_bytes(micro.CORE_FLASH_BYTES)}, {micro.CORE_FLASH_SOURCE}"
    return f"{format_bytes(cost.flash_bytes)}, from the device profile"


def _unknown_system(profile: DeviceProfile, what: str) -> list[str]:
    """Say of the RAM that its limit is all of it, where it is not known what the system takes."""
    ram = profile.region("ram")
    if ram is None or ram.system_bytes is not None:
        return []
    return [f"what {what} is unknown, so the limit is all of its RAM"]


def _check_process(graph: Graph, file: str, profile: DeviceProfile) -> FitReport:
    buffers = process.activation_buffers(graph)
    arena_bytes = planned_bytes(buffers, plan_greedy(buffers, process.ALIGNMENT), process.ALIGNMENT)
    live = live_bytes(buffers, len(graph.operators), process.ALIGNMENT)
    runtime = process.runtime_of(graph)
    notes = ["RAM is the peak resident memory of a Python process with one thread"]
    warnings = []
    if profile.runtimes.get(runtime, RuntimeCost()).ram_bytes is None:
        warnings.append(
            f"what {runtime} itself takes on {profile.name} is unknown and not counted, tens of MiB as a rule: "
            f"--device NAME of a device of edgecnn devices counts it"
        )
    if profile.region("flash"):
        notes.append(f"flash only counts the file, not {runtime}")
    regions = _process_regions(graph, profile)
    known = {"Detection_PostProcess", *OPERATORS} if graph.format == "tflite" else None
    foreign = [op.kind for op in graph.operators if known and op.kind.removeprefix("TFLite_") not in known]
    return FitReport(
        file=file,
        device=profile.name,
        regions=regions,
        arena_bytes=arena_bytes,
        arena_head_bytes=arena_bytes,
        peak=_peak(graph, buffers, live, range(len(live))),
        live_bytes=live,
        unsupported_operators=_unsupported(graph, profile, foreign),
        next_steps=next_steps(
            graph, regions, lambda changed: _process_regions(changed, profile), is_microcontroller=False
        ),
        warnings=tuple(warnings),
        notes=(*notes, *_unknown_system(profile, "the system takes")),
    )


def _process_regions(graph: Graph, profile: DeviceProfile) -> tuple[RegionUse, ...]:
    """Return what *graph* takes of the RAM in a process of an operating system."""
    buffers = process.activation_buffers(graph)
    arena_bytes = planned_bytes(buffers, plan_greedy(buffers, process.ALIGNMENT), process.ALIGNMENT)
    runtime = process.runtime_of(graph)
    cost = profile.runtimes.get(runtime, RuntimeCost())
    base = {} if cost.ram_bytes is None else {f"{runtime} itself": cost.ram_bytes}
    return _regions(
        profile,
        {"ram": {**base, **process.memory_parts(graph, arena_bytes)}, "flash": {"model file": graph.size_bytes}},
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


def _peak(graph: Graph, buffers: Sequence[Buffer], live: Sequence[int], steps: Sequence[int]) -> Peak | None:
    """Return the operator at which the most bytes live; *steps* are those of the operators in *buffers*."""
    if not live:
        return None
    index = max(range(len(live)), key=lambda i: live[i])
    step, operator = steps[index], graph.operators[index]
    alive = [buffer for buffer in buffers if buffer.first <= step <= buffer.last]
    largest = sorted(alive, key=lambda buffer: -buffer.size_bytes)[:_LARGEST]
    return Peak(
        operator=f"{operator.kind} {short_name(operator.name)}".strip(),
        step=index,
        live_bytes=live[index],
        tensors=tuple((short_name(buffer.name), buffer.size_bytes) for buffer in largest),
    )
