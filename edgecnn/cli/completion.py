"""`edgecnn completion`: the shell completion script."""

from __future__ import annotations

import os

import click
from click.shell_completion import BashComplete, add_completion_class, split_arg_string

from edgecnn.cli.sections import Command
from edgecnn.cli.shared import common, print_json

SHELLS = ("bash", "fish", "zsh")

# Bash breaks words at colons and equals signs, `rpi4:8gb` into three, and puts what we offer in place of the last of
# them. So we are given the line as it was typed, and what stands before that last piece is cut off what we offer.
_BASH = r"""
%(complete_func)s() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} response completion type value word
    response=$(env COMP_WORDS="$line" %(complete_var)s=bash_complete $1) || return
    COMPREPLY=()
    for completion in $response; do
        type=${completion%%%%,*} value=${completion#*,}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
    word=${line##*[[:space:]]}
    [[ $word == -*=* ]] && word=${word#*=}
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        word=${word%%"${word##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$word"}")
    fi
    # What ends so goes on: no space behind it.
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=/] ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class WholeWords(BashComplete):
    """Completion for bash that sees words with a colon as one."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words of the line before the one being typed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words[1:], incomplete


add_completion_class(WholeWords, "bash")


@click.command("completion", cls=Command)
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
