"""`edgecnn completion`: the shell completion script."""

from __future__ import annotations

import click

from edgecnn.cli.shared import common, print_json

SHELLS = ("bash", "fish", "zsh")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@common
def command(shell: str, as_json: bool) -> None:
    """Print the shell completion script for bash, zsh or fish.

    \b
    Example:
      edgecnn completion bash > ~/.local/share/bash-completion/completions/edgecnn
      edgecnn completion zsh > ~/.zfunc/_edgecnn
      edgecnn completion fish > ~/.config/fish/completions/edgecnn.fish
    """
    from click.shell_completion import get_completion_class

    from edgecnn.cli import COMPLETE_VARIABLE, cli

    completion = get_completion_class(shell)
    assert completion is not None  # click.Choice let only known shells through
    script = completion(cli, {}, "edgecnn", COMPLETE_VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
