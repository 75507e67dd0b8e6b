"""`edgecnn devices`: the catalogue, one profile with the source of each fact, and profiles of your own boards."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from edgecnn.cli.names import complete_device, complete_target
from edgecnn.cli.sections import Group, option
from edgecnn.cli.shared import common, parse_numbers, print_json, showing_progress, tables
from edgecnn.cli.table import Cell, print_table, say
from edgecnn.device import Core, DeviceProfile, MemoryRegion, add_device, device_names, load_device
from edgecnn.units import format_bytes


class DeviceGroup(Group):
    """A group whose first argument is a subcommand or, as ever, the name of a device."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take what is no subcommand for the name of a device to show."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the devices and subcommands that begin with *incomplete*."""
        names = complete_device(ctx, click.Argument(["name"]), incomplete)
        return [*map(CompletionItem, names), *super().shell_complete(ctx, incomplete)]


@click.group("devices", cls=DeviceGroup, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND ...]")
@tables
@common
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the device catalogue, or show one device with the source of each fact.

    NAME is a device (rpi4), a variant of it (rpi4:4gb), the path of a TOML file, or host (this machine).

    \b
    Example:
      edgecnn devices
      edgecnn devices rpi4:4gb
      edgecnn devices host --json
      edgecnn devices probe ssh://pi@raspberrypi.local > my-pi.toml
      edgecnn devices add my-pi.toml
      edgecnn devices calibrate my-pi --target ssh://pi@raspberrypi.local
    """
    if ctx.invoked_subcommand is None:
        _show_catalogue(as_json=as_json)


def _show_catalogue(*, as_json: bool) -> None:
    profiles = [load_device(known) for known in device_names()]
    if as_json:
        print_json([profile.to_json() for profile in profiles])
    else:
        _print_catalogue(profiles)


def _asked_for_json(ctx: click.Context, as_json: bool) -> bool:
    """Whether `--json` stands after the subcommand or before it."""
    return as_json or bool(ctx.parent and ctx.parent.params.get("as_json"))


@command.command("list", hidden=True)
@tables
@common
@click.pass_context
def list_all(ctx: click.Context, as_json: bool) -> None:
    """List the device catalogue. `edgecnn devices` is short for it.

    \b
    Example:
      edgecnn devices list
    """
    _show_catalogue(as_json=_asked_for_json(ctx, as_json))


@command.command("show", hidden=True)
@click.argument("name", shell_complete=complete_device)
@tables
@common
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one device with the source of each fact. `edgecnn devices NAME` is short for it.

    \b
    Example:
      edgecnn devices show rpi4
    """
    profile = load_device(name)
    if _asked_for_json(ctx, as_json):
        print_json(profile.to_json())
    else:
        _print_profile(profile)


@command.command("probe", short_help="Print a profile read from a board.")
@click.argument("target", shell_complete=complete_target)
@common
@click.pass_context
def probe(ctx: click.Context, target: str, as_json: bool) -> None:
    """Read a profile from the board at TARGET and print it as TOML.

    \b
    Example:
      edgecnn devices probe ssh://pi@raspberrypi.local > my-pi.toml
    """
    from edgecnn.benchmarks.probe import probe_device, profile_toml

    profile = probe_device(target)
    if _asked_for_json(ctx, as_json):
        print_json(profile.to_json())
    else:
        click.echo(profile_toml(profile), nl=False)


@command.command("add", short_help="Add a profile to your own devices.")
@click.argument("file", type=click.Path(path_type=Path))
@common
@click.pass_context
def add(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check the profile in a TOML FILE and copy it into your own folder; the device gets the file's name.

    \b
    Example:
      edgecnn devices add my-pi.toml
    """
    added = add_device(file)
    if _asked_for_json(ctx, as_json):
        print_json({"name": added.stem, "path": str(added)})
    else:
        say(f"{added.stem} was added: {added}")


@command.command("calibrate", short_help="Fit latency estimates to a board.")
@click.argument("name", shell_complete=complete_device)
@option(
    "--target",
    metavar="TARGET",
    shell_complete=complete_target,
    default_text="the target tied to the device",
    section="Device",
    help="Where the board is: ssh://user@host or adb:SERIAL.",
)
@option(
    "--threads",
    default="1",
    metavar="N,N",
    callback=parse_numbers,
    section="Measurement",
    help="Numbers of threads to measure, for example 1,4.",
)
@option(
    "--networks",
    type=click.IntRange(min=12),
    metavar="N",
    default=36,
    section="Measurement",
    help="Number of synthetic networks to measure, at least 12.",
)
@tables
@common
@click.pass_context
def calibrate(
    ctx: click.Context, name: str, target: str | None, threads: tuple[int, ...], networks: int, as_json: bool
) -> None:
    """Measure small synthetic networks on the board NAME, and write the fitted cost of each operator into its profile.

    Afterwards `edgecnn bench FILE --device NAME` estimates with these coefficients. A shipped profile is copied to your
    own folder first.

    \b
    Example:
      edgecnn devices calibrate my-pi --target ssh://pi@raspberrypi.local --threads 1,4
    """
    from edgecnn.benchmarks.calibrate import calibrate as calibrate_device

    with showing_progress() as progress:
        found = calibrate_device(name, target=target, threads=threads, networks=networks, progress=progress)
    if _asked_for_json(ctx, as_json):
        print_json([calibration.to_json() for calibration in found])
        return
    columns = ("runtime", "precision", "threads", "networks", "median error", "90 % below", "band")
    rows = [
        (
            *(one.model.runtime, one.model.precision, str(one.model.threads), str(one.model.networks)),
            *(f"{100 * error:.1f} %" for error in (one.median_error, one.p90_error)),
            f"{100 * (one.model.low - 1):+.0f} … {100 * (one.model.high - 1):+.0f} %",
        )
        for one in found
    ]
    print_table(f"{name}: fit error on held-out networks", columns, rows, right=(2, 3, 4, 5))
    say(f"written to {found[0].path}")


def _print_catalogue(profiles: list[DeviceProfile]) -> None:
    columns = ("name", "title", "kind", "CPU", "RAM", "flash", "features", "other facts")
    print_table("Devices", columns, [_row(profile) for profile in profiles], right=(4, 5), spare=(7, 1, 6, 3))
    say("edgecnn devices NAME shows one device with its sources; - means unknown")


def _row(profile: DeviceProfile) -> tuple[Cell, ...]:
    variants = tuple(f"  :{variant}" for variant in profile.variants)
    known = profile.facts()
    also = {
        "memory.ram.system": "system",
        "thermal": "thermal",
        "governor": "governor",
        "idle_w": "power",
        "memcpy_mb_s": "memcpy",
    }
    return (
        (profile.name, *variants),
        profile.title,
        profile.kind,
        tuple(map(_short, profile.cores)) or profile.arch,
        *(format_bytes(region.size_bytes if region else None) for region in map(profile.region, ("ram", "flash"))),
        ", ".join(profile.features) or "-",
        ", ".join(text for fact, text in also.items() if fact in known) or "-",
    )


def _short(core: Core) -> str:
    """Return `4x Cortex-A72 1.5 GHz`: a row has little room."""
    clock = "" if core.clock_mhz is None or "GHz" in core.name else f" {core.clock_mhz / 1000:.3g} GHz"
    return f"{core.count}x {core.name}{clock}"


def _print_profile(profile: DeviceProfile) -> None:
    from edgecnn.estimate.cores import latency_models
    from edgecnn.estimate.latency import describe_models

    variant = f", variant {profile.variant} of {', '.join(profile.variants)}" if profile.variant else ""
    rows = [(fact, value, profile.sources.get(fact, "-")) for fact, value in profile.facts().items()]
    print_table(f"{profile.name}: {profile.title} ({profile.kind}){variant}", ("fact", "value", "source"), rows)
    for model in profile.latency:
        band = f"{100 * (model.low - 1):+.0f} … {100 * (model.high - 1):+.0f} %"
        count = f"{model.threads} thread{'s' * (model.threads > 1)}"
        say(f"latency can be estimated for {model.runtime} {model.precision}, {count}: {band}; {model.source}")
    borrowed = [model for model in latency_models(profile) if model not in profile.latency]
    if borrowed:
        say(f"by the figures of its kinds of cores, with wider bands: {'; '.join(describe_models(borrowed))}")
    for region in profile.memory:
        say(f"{region.name}: {format_bytes(region.limit_bytes)} {_what_is_left(region)}")


def _what_is_left(region: MemoryRegion) -> str:
    if region.system_bytes is None:
        return "in total; the share of the system or the firmware is unknown"
    return "available for a runtime and its model"
