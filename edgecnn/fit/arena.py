"""The size to set TFLite Micro's arena to, whichever kernels it is built with."""

from __future__ import annotations

from edgecnn.device import DeviceProfile
from edgecnn.fit import cmsis_nn, micro
from edgecnn.fit.call import Call
from edgecnn.fit.plan import align
from edgecnn.formats import Graph

#: The instruction sets that CMSIS-NN's kernels distinguish; None: neither.
_INSTRUCTIONS = ("helium", "dsp", None)
_OFFLINE_PLAN = "OfflineMemoryAllocation"


def instruction_sets(profile: DeviceProfile | None) -> tuple[str | None, ...]:
    """Return the instruction sets whose CMSIS-NN kernels count: a Cortex-M's own; all where the core is not known."""
    if profile is None or profile.arch == "unknown":
        return _INSTRUCTIONS
    if not profile.arch.startswith("cortex-m"):
        return ()
    return (next((name for name in _INSTRUCTIONS if name in profile.features), None),)


def arena_to_set(graph: Graph, profile: DeviceProfile | None = None) -> int:
    """Return the size in bytes to set the arena to on a microcontroller.

    It holds with TFLite Micro's own kernels and with CMSIS-NN's.

    Args:
        graph: of a `.tflite` file.
        profile: the microcontroller; None: any Cortex-M.

    Example:
        >>> arena_to_set(read_graph("net.w8a8.tflite"), load_device("stm32h7a3"))  # doctest: +SKIP
        53264
    """
    sizes = [micro.plan_micro(graph, 4).total_bytes]
    for instructions in instruction_sets(profile):
        optimized = micro.plan_micro(graph, 4, cmsis_nn.cmsis_nn_scratch(instructions))
        kept = sum(cmsis_nn.kept_bytes(call, instructions) for call in calls(graph))
        sizes.append(optimized.total_bytes + kept)
    return align(max(sizes), micro.ALIGNMENT)


def arenas_to_set(graph: Graph, profile: DeviceProfile | None = None) -> dict[int, int]:
    """Return the sizes in bytes to set the arena to, by the size of a pointer.

    4: on a microcontroller, as `arena_to_set` says. 8: on a 64-bit computer, with TFLite Micro's own kernels.

    Args:
        graph: of a `.tflite` file.
        profile: the microcontroller; None: any Cortex-M.

    Example:
        >>> arenas_to_set(read_graph("net.w8a8.tflite"))  # doctest: +SKIP
        {4: 53264, 8: 55984}
    """
    return {4: arena_to_set(graph, profile), 8: micro.plan_micro(graph, 8).total_bytes}


def calls(graph: Graph) -> list[Call]:
    """Return the operators of every subgraph, with their tensors."""
    return [Call.of(subgraph, operator) for subgraph in (graph, *graph.further) for operator in subgraph.operators]


def not_counted(graph: Graph, profile: DeviceProfile | None = None) -> list[str]:
    """Say what `arena_to_set` does not know: the arena may need to be larger.

    Args:
        graph: of a .tflite file.
        profile: of the microcontroller; None: of any.
    """
    unknown = micro.plan_micro(graph, 4).not_modelled
    remarks = []
    if unknown:
        remarks.append(f"what {', '.join(unknown)} takes in the arena is unknown and not counted: set a larger one")
    optimized = {
        call.kind for call in calls(graph) if call.kind in cmsis_nn.NOT_MODELLED and call.given[0].dtype == "int8"
    }
    if optimized and instruction_sets(profile):
        kinds = ", ".join(sorted(optimized))
        remarks.append(
            f"what CMSIS-NN's kernel of {kinds} takes in addition to TFLite Micro's own is unknown and not counted"
        )
    if _OFFLINE_PLAN in graph.metadata:
        remarks.append(f"the file has its own memory plan ({_OFFLINE_PLAN}), which is ignored")
    return remarks
