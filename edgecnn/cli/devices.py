"""`edgecnn devices`: the catalogue, and one profile with the source of each fact."""

from __future__ import annotations

import click

from edgecnn.cli.names import complete_device
from edgecnn.cli.shared import common, print_json
from edgecnn.cli.table import print_table, say
from edgecnn.device import Core, DeviceProfile, MemoryRegion, device_names, load_device
from edgecnn.units import format_bytes


@click.command("devices")
@click.argument("name", required=False, shell_complete=complete_device)
@common
def command(name: str | None, as_json: bool) -> None:
    """List the device catalogue, or show one profile with its sources.

    NAME is a device (rpi4), a variant of it (rpi4:4gb), the path of a TOML file, or host: the machine at hand.

    \b
    Example:
      edgecnn devices
      edgecnn devices rpi4:4gb
      edgecnn devices host --json
    """
    if name is None:
        profiles = [load_device(known) for known in device_names()]
        if as_json:
            print_json([profile.to_json() for profile in profiles])
        else:
            _print_catalogue(profiles)
        return
    profile = load_device(name)
    if as_json:
        print_json(profile.to_json())
    else:
        _print_profile(profile)


def _print_catalogue(profiles: list[DeviceProfile]) -> None:
    columns = ("name", "title", "kind", "CPU", "RAM", "flash", "features", "also known")
    print_table("Devices", columns, [_row(profile) for profile in profiles], right=(4, 5), spare=(7, 1, 6, 3))
    say("edgecnn devices NAME shows one, with the source of each fact; - is not known")


def _row(profile: DeviceProfile) -> tuple[str, ...]:
    variants = "".join(f"\n  :{variant}" for variant in profile.variants)
    known = profile.facts()
    also = {
        "memory.ram.system": "system",
        "thermal": "thermal",
        "governor": "governor",
        "idle_w": "power",
        "memcpy_mb_s": "memcpy",
    }
    return (
        profile.name + variants,
        profile.title,
        profile.kind,
        "\n".join(map(_short, profile.cores)) or profile.arch,
        *(format_bytes(region.size_bytes if region else None) for region in map(profile.region, ("ram", "flash"))),
        ", ".join(profile.features) or "-",
        ", ".join(text for fact, text in also.items() if fact in known) or "-",
    )


def _short(core: Core) -> str:
    """Return `4x Cortex-A72 1.5 GHz`: a row has little room."""
    clock = "" if core.clock_mhz is None else f" {core.clock_mhz / 1000:.3g} GHz"
    return f"{core.count}x {core.name}{clock}"


def _print_profile(profile: DeviceProfile) -> None:
    variant = f", variant {profile.variant} of {', '.join(profile.variants)}" if profile.variant else ""
    rows = [(fact, value, profile.sources.get(fact, "-")) for fact, value in profile.facts().items()]
    print_table(f"{profile.name}: {profile.title} ({profile.kind}){variant}", ("fact", "value", "source"), rows)
    for region in profile.memory:
        say(f"{region.name}: {format_bytes(region.limit_bytes)} {_what_is_left(region)}")


def _what_is_left(region: MemoryRegion) -> str:
    if region.system is None:
        return "in all; what the system or the firmware takes of it is not known"
    return "left for a runtime and its model"
