"""`edgecnn doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, print_json, tables
from edgecnn.cli.table import print_table, say

if TYPE_CHECKING:
    from edgecnn.doctor import Package


@click.command("doctor", cls=Command)
@option(
    "--boards/--no-boards",
    default=True,
    default_text="boards",
    section="Device",
    help="Connect to the boards of targets.toml.",
)
@tables
@common
def command(boards: bool, as_json: bool) -> None:
    """Show installed and missing packages, folders and boards.

    \b
    Example:
      edgecnn doctor
      edgecnn doctor --no-boards --json
    """
    from edgecnn.doctor import check_installation

    found = check_installation(boards=boards)
    if as_json:
        print_json(found.to_json())
        return
    say(f"edgecnn {found.version}, Python {found.python}, {found.system}")
    rows = [
        [
            extra.name,
            extra.purpose,
            [f"{package.name} {package.version}" for package in extra.packages if package.usable] or "-",
            [*map(_lacking, extra.missing)] or "-",
        ]
        for extra in found.extras
    ]
    print_table("Extras", ["extra", "to", "installed", "missing"], rows, spare=(2,))
    for extra in found.extras:
        if extra.install_line:
            say(f"to {extra.purpose}: {extra.install_line}, or '.[{extra.name}]' in a checkout")
    places = [[place.what, str(place.path), "yes" if place.exists else "no"] for place in found.places]
    print_table("Places", ["what", "path", "is there"], places)
    if found.boards:
        answers = [[b.device, b.target, b.machine or "-", b.problem or "answers"] for b in found.boards]
        print_table("Boards of targets.toml", ["device", "target", "machine", "state"], answers)
    say(f"emulated board: {found.emulator}")


def _lacking(package: Package) -> str:
    """Return the name of a package that is not usable, and why where it is installed."""
    return package.name if package.version is None else f"{package.name} {package.version}, needs {package.minimum}"
