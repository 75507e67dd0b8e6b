"""The device that a file is to fit: one of the catalogue, a budget on such a device, or a bare budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecnn.device import DeviceProfile, MemoryRegion, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.units import format_bytes

#: More RAM than microcontrollers have on the chip (STM32N6: 4.2 MB); a budget without flash that is larger means Linux.
MOST_MICRO_RAM_BYTES = 8 * 2**20


def device_within(
    device: DeviceProfile | Path | str | None = None,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    kind: str | None = None,
) -> DeviceProfile:
    """Return *device* with the given limits in place of its own memories, or a bare device that has just these.

    A limit is what the network and its runtime may take: nothing of it is kept for the system.

    Args:
        device: a profile, or its name; None: nothing but the limits is known.
        ram_bytes: limit of RAM.
        flash_bytes: limit of flash.
        kind: "mcu" or "linux", of a bare device; None: "mcu" where flash is given or the RAM is at most
            `MOST_MICRO_RAM_BYTES`.

    Raises:
        EdgecnnError: no such device, a limit below one byte, neither device nor limit, or a kind beside a device.

    Example:
        >>> device_within("rpi4", ram_bytes=64 * 2**20).region("ram").limit_bytes
        67108864
    """
    given = {name: size for name, size in (("ram", ram_bytes), ("flash", flash_bytes)) if size is not None}
    for name, size in given.items():
        if size < 1:
            raise EdgecnnError(f"a limit of {size} bytes of {name} is too small; give --{name}, for example 64KiB")
    memory = tuple(MemoryRegion(name, size, system_bytes=0) for name, size in given.items())
    if device is None:
        return _bare(memory, given, kind)
    if kind is not None:
        raise EdgecnnError("--kind only goes with --ram and --flash; a device has its own kind")
    profile = device if isinstance(device, DeviceProfile) else load_device(device)
    if not memory:
        return profile
    own = tuple(region for region in profile.memory if region.name not in given)
    limits = ", ".join(f"{format_bytes(size)} {name}" for name, size in given.items())
    return replace(profile, name=f"{profile.name} with {limits}", memory=(*memory, *own))


def _bare(memory: tuple[MemoryRegion, ...], given: dict[str, int], kind: str | None) -> DeviceProfile:
    if not memory:
        raise EdgecnnError("Give --device, or --ram and --flash.")
    name = ", ".join(f"{format_bytes(region.size_bytes)} {region.name}" for region in memory)
    if kind is None:
        kind = "mcu" if "flash" in given or given["ram"] <= MOST_MICRO_RAM_BYTES else "linux"
    return DeviceProfile(name=name, title=name, kind=kind, arch="unknown", sources={}, memory=memory)
