"""`check_fit`: what a user reads in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.device import DeviceProfile, MemoryRegion, RuntimeCost
from edgecnn.errors import EdgecnnError
from edgecnn.fit import arena_to_set, check_fit, why_refused
from edgecnn.formats import Graph, Operator, QuantParams, Tensor

MIB = 2**20
BOARD = DeviceProfile(
    name="board",
    title="Board",
    kind="mcu",
    arch="cortex-m7",
    sources={},
    features=("dsp",),
    memory=(MemoryRegion("ram", 40_000),),
)
LINUX = DeviceProfile(
    name="pi",
    title="Pi",
    kind="linux",
    arch="aarch64",
    sources={},
    memory=(MemoryRegion("ram", 512 * MIB, system_bytes=100 * MIB),),
    runtimes={"litert": RuntimeCost(ram_bytes=34 * MIB), "onnxruntime": RuntimeCost(ram_bytes=44 * MIB)},
)


def network(dtype: str = "int8", kind: str = "CONV_2D", weights_dtype: str | None = None, side: int = 32) -> Graph:
    """Return one 3x3 convolution from [1, side, side, 8] to [1, side, side, 16] and its RELU."""
    width = {"int8": 1, "float32": 4}[dtype]
    quant = QuantParams((0.1,), (0,)) if dtype == "int8" else None
    stored = weights_dtype or dtype
    tensors = (
        Tensor("image", (1, side, side, 8), dtype, quant, size_bytes=side * side * 8 * width),
        Tensor(
            "weights", (16, 3, 3, 8), stored, quant, constant=True, size_bytes=1152 * {"int8": 1, "float32": 4}[stored]
        ),
        Tensor("features", (1, side, side, 16), dtype, quant, size_bytes=side * side * 16 * width),
        Tensor("answer", (1, side, side, 16), dtype, quant, size_bytes=side * side * 16 * width),
    )
    operators = (Operator(kind, (0, 1), (2,), name="features"), Operator("RELU", (2,), (3,), name="answer"))
    return Graph("tflite", tensors, operators, (0,), (3,), size_bytes=2000 * width)


def test_regions_add_up() -> None:
    """What a region takes is the sum of its named parts, and the RAM holds the whole arena and CMSIS-NN's scratch."""
    report = check_fit(network(), BOARD)
    ram = report.regions[0]
    assert ram.used_bytes == sum(ram.parts.values())
    assert ram.used_bytes == report.arena_bytes
    assert ram.parts["CMSIS-NN scratch"] > 0
    assert report.arena_bytes == arena_to_set(network(), BOARD)
    assert str(report.arena_bytes) in report.notes[0]
    assert report.arena_head_bytes == 32 * 32 * (16 + 16)


def test_both_pointer_sizes_are_said() -> None:
    """The report gives the arena for 4-byte and for 8-byte pointers, and says that it counts with 4."""
    report = check_fit(network(), BOARD)
    assert report.pointer_bytes == 4
    assert report.arena_bytes_by_pointer[4] == report.arena_bytes < report.arena_bytes_by_pointer[8]
    assert str(report.arena_bytes_by_pointer[8]) in " ".join(report.notes)


def test_the_peak_names_its_largest_tensors() -> None:
    """The peak is the operator with the most live bytes; the memory over the run has one value an operator."""
    report = check_fit(network(), BOARD)
    assert report.peak is not None
    assert report.peak.operator == "RELU answer"
    assert report.peak.live_bytes == max(report.live_bytes) == 32 * 32 * 32
    assert report.peak.tensors == (("features", 16384), ("answer", 16384))
    assert report.live_bytes == (32 * 32 * 24, 32 * 32 * 32)


def test_budgets_are_a_bare_microcontroller() -> None:
    """Budgets alone are checked too: the file against the flash, the arena against the RAM."""
    report = check_fit(network(), ram_bytes=64_000, flash_bytes=1000)
    fits = {region.name: region.fits for region in report.regions}
    assert fits == {"ram": True, "flash": False}
    assert not report.fits


def test_advice_that_would_work() -> None:
    """A float network that lacks RAM is told of int8, and of an input side that would indeed fit."""
    report = check_fit(network("float32"), BOARD)
    assert not report.fits
    advice = " ".join(report.next_steps)
    assert "w8a8" in advice
    assert "which fits" in advice
    side = int(advice.split("an input of ")[1].split("x")[0])
    assert check_fit(network(side=side, dtype="float32"), BOARD).fits
    assert not check_fit(network(side=side + 2, dtype="float32"), BOARD).fits


def test_unsupported_operators_do_not_fit() -> None:
    """An operator that TFLite Micro has no kernel for is named, and the file does not fit, whatever its size."""
    report = check_fit(network(kind="CONV_3D"), ram_bytes=MIB, flash_bytes=MIB)
    assert report.unsupported_operators == ("CONV_3D",)
    assert not report.fits


def test_hybrid_weights_are_unsupported() -> None:
    """int8 weights on float activations, which TFLite Micro refuses, are named with the reason."""
    report = check_fit(network("float32", weights_dtype="int8"), ram_bytes=MIB)
    (said,) = report.unsupported_operators
    assert said.startswith("CONV_2D of float32 x int8: ")
    assert "hybrid" in said


def test_a_device_may_lack_an_operator() -> None:
    """A profile's own list of unsupported operators counts."""
    device = DeviceProfile(
        name="x", title="X", kind="linux", arch="x", sources={}, memory=LINUX.memory, unsupported_operators=("RELU",)
    )
    assert check_fit(network(), device).unsupported_operators == ("RELU",)


def test_linux_counts_the_runtime_and_what_the_system_takes() -> None:
    """On Linux the limit is the RAM less the system's part, and the use has the runtime's own base."""
    ram = check_fit(network(), LINUX).regions[0]
    assert ram.limit_bytes == 412 * MIB
    assert ram.parts["litert itself"] == 34 * MIB
    assert ram.parts["weights, packed"] == 1152
    assert ram.parts["activations"] == 32 * 32 * 32


def test_an_unknown_runtime_base_is_said() -> None:
    """Where a device does not say what the runtime takes, the report says that it is not counted."""
    device = DeviceProfile(name="x", title="X", kind="android", arch="x", sources={}, memory=LINUX.memory)
    assert "unknown and not counted" in " ".join(check_fit(network(), device).warnings)


def test_nothing_to_check_against_is_an_error() -> None:
    """Neither a device nor a budget is an error that says what to give."""
    with pytest.raises(EdgecnnError, match="--ram"):
        check_fit(network())


def test_unknown_memory_is_refused() -> None:
    """A device whose memory is unknown gives no verdict; a budget beside it does, on its own runtime."""
    device = DeviceProfile(name="pc", title="PC", kind="linux", arch="x86_64", sources={})
    with pytest.raises(EdgecnnError, match=r"^pc: its memory is unknown; give --ram"):
        check_fit(network(), device)
    flash_alone = DeviceProfile(
        name="pc", title="PC", kind="linux", arch="x86_64", sources={}, memory=(MemoryRegion("flash", MIB),)
    )
    with pytest.raises(EdgecnnError, match="its memory is unknown"):
        check_fit(network(), flash_alone)
    assert check_fit(network(), device, ram_bytes=64 * MIB).regions[0].parts["interpreter"] > 0


def test_a_limit_takes_the_place_of_the_devices_memory() -> None:
    """`--device rpi4 --ram 64MiB`: the runtime and the parts are that kind of device's, the limit is given."""
    whole = check_fit(network(), "rpi4").regions[0]
    (ram,) = check_fit(network(), "rpi4", ram_bytes=64 * MIB).regions
    assert ram.limit_bytes == 64 * MIB
    assert ram.parts == whole.parts
    assert whole.parts["litert itself"] > MIB
    assert check_fit(network(), "rpi4", ram_bytes=64 * MIB).device == "rpi4 with 64.0 MiB ram"
    small = {region.name: region.limit_bytes for region in check_fit(network(), BOARD, flash_bytes=1000).regions}
    own = BOARD.region("ram")
    assert own is not None
    assert small == {"ram": own.limit_bytes, "flash": 1000}


def test_a_limit_of_flash_on_linux_holds_the_file() -> None:
    """Where a device has an operating system, flash counts the file alone, and the report says so."""
    report = check_fit(network(), "rpi4", ram_bytes=64 * MIB, flash_bytes=10)
    flash = next(region for region in report.regions if region.name == "flash")
    assert flash.parts == {"model file": network().size_bytes}
    assert not report.fits
    assert "flash only counts the file, not litert" in report.notes


@pytest.mark.parametrize("name", ["ram", "flash"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    """A limit below one byte is a mistake in the limit, whoever gives it."""
    with pytest.raises(EdgecnnError, match=f"of {name} is too small; give --{name}, for example 64KiB"):
        check_fit(network(), BOARD, ram_bytes=0 if name == "ram" else None, flash_bytes=0 if name == "flash" else None)


def test_an_unknown_part_of_the_system_is_said() -> None:
    """Where it is not known what the system takes, the report says that the limit is all of the RAM."""
    phone = DeviceProfile(
        name="p", title="P", kind="android", arch="aarch64", sources={}, memory=(MemoryRegion("ram", 64 * MIB),)
    )
    said = "unknown, so the limit is all of its RAM"
    assert any(said in note for note in check_fit(network(), phone).notes)
    assert any(said in note for note in check_fit(network(), BOARD).notes)
    assert not any(said in note for note in check_fit(network(), LINUX).notes)
    assert not any(said in note for note in check_fit(network(), ram_bytes=MIB).notes)


def test_the_core_of_tflite_micro_always_counts() -> None:
    """Flash holds the core of TFLite Micro, with its source, unless the device knows better."""
    bare = check_fit(network(), flash_bytes=MIB)
    assert bare.regions[0].parts == {"model file": 2000, "TFLite Micro": 16 * 1024}
    assert "https://" in next(note for note in bare.notes if "flash" in note)
    known = DeviceProfile(
        name="b",
        title="B",
        kind="mcu",
        arch="x",
        sources={},
        memory=(MemoryRegion("flash", MIB),),
        runtimes={"tflite-micro": RuntimeCost(flash_bytes=9)},
    )
    assert check_fit(network(), known).regions[0].parts["TFLite Micro"] == 9


def test_flash_is_not_spoken_of_where_none_is_given() -> None:
    """With a budget of RAM alone no note is about flash."""
    assert not any("flash" in note for note in check_fit(network(), ram_bytes=MIB).notes)


def test_no_file_is_an_error(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(EdgecnnError, match=r"gone\.tflite"):
        check_fit(tmp_path / "gone.tflite", BOARD)


def test_an_operator_without_its_tensors_is_told() -> None:
    """A file that can be read and makes no sense is an error that a user can act on."""
    graph = network("float32")
    bare = tuple(Operator(operator.kind, (), operator.outputs) for operator in graph.operators)
    with pytest.raises(EdgecnnError, match="an operator lacks a tensor; copy or export it again"):
        check_fit(Graph("tflite", graph.tensors, bare, graph.inputs, graph.outputs, 1000), BOARD)


def test_the_kind_of_a_bare_budget_is_said() -> None:
    """A budget no microcontroller has means Linux, a smaller one or flash a microcontroller; the user may say which."""
    board, linux = check_fit(network(), ram_bytes=MIB), check_fit(network(), ram_bytes=30 * MIB)
    assert board.pointer_bytes == 4
    assert linux.pointer_bytes is None
    assert board.notes[0].startswith("checked as a microcontroller")
    assert linux.notes[0].startswith("checked as a Linux board")
    assert check_fit(network(), ram_bytes=30 * MIB, flash_bytes=MIB).pointer_bytes == 4
    said = check_fit(network(), ram_bytes=30 * MIB, kind="mcu")
    assert said.pointer_bytes == 4
    assert not any("taken for" in note for note in said.notes)
    with pytest.raises(EdgecnnError, match="--kind only goes with --ram and --flash"):
        check_fit(network(), BOARD, kind="mcu")


def test_what_is_not_counted_is_warned_of() -> None:
    """An operator whose memory is not known is named in a warning, in JSON too."""
    report = check_fit(network(kind="CONV_2D"), BOARD)
    assert report.warnings == ()
    delayed = replace(network(), operators=(*network().operators, Operator("SignalDelay", (3,), (3,))))
    (warning,) = check_fit(delayed, BOARD).warnings
    assert "SignalDelay" in warning
    assert check_fit(delayed, BOARD).to_json()["warnings"] == [warning]


def test_a_file_for_microcontrollers_is_refused_with_the_operator() -> None:
    """What TFLite Micro lacks, and what computes in float, is named; an int8 network passes."""
    assert why_refused(network()) is None
    assert why_refused(network(kind="CONV_3D")) == "TFLite Micro does not run CONV_3D"
    assert why_refused(network("float32")) == "CONV_2D, RELU still computes in float"
