"""Every command: its help, its options, and how it is listed."""

from __future__ import annotations

import importlib
import inspect
import re

import click
import pytest

from edgecnn.cli import COMMANDS, cli
from edgecnn.cli.sections import SectionOption


@pytest.fixture(params=sorted(COMMANDS))
def command(request: pytest.FixtureRequest) -> click.Command:
    """One command after the other."""
    found = importlib.import_module(f"edgecnn.cli.{request.param}").command
    assert isinstance(found, click.Command)
    return found


def test_help_has_an_example(command: click.Command) -> None:
    """The help of every command shows how it is called, kept as written."""
    text = command.get_help(click.Context(command, info_name=command.name))
    assert re.search(rf"^  Example:\n    edgecnn {command.name}\b", text, re.M)


SUBCOMMANDS = {
    f"{name} {inner}": subcommand
    for name in COMMANDS
    for group in [importlib.import_module(f"edgecnn.cli.{name}").command]
    if isinstance(group, click.Group)
    for inner, subcommand in group.commands.items()
}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_subcommands_are_as_commands(name: str) -> None:
    """A subcommand has an example kept as written, `--json`, `--debug`, and a word on each option."""
    subcommand = SUBCOMMANDS[name]
    text = subcommand.get_help(click.Context(subcommand, info_name=name))
    assert re.search(rf"^  Example:\n    edgecnn {name}\b", text, re.M)
    options = [parameter for parameter in subcommand.params if isinstance(parameter, click.Option)]
    assert {"--json", "--debug"} <= {form for option in options for form in option.opts}
    assert all(option.help for option in options)


def test_has_json_and_debug(command: click.Command) -> None:
    """Every command prints JSON on `--json` and shows the traceback on `--debug`."""
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--debug"} <= options


def test_every_option_says_what_it_does(command: click.Command) -> None:
    """No option is without its help."""
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not silent


EVERY = {name: importlib.import_module(f"edgecnn.cli.{name}").command for name in COMMANDS} | SUBCOMMANDS


@pytest.mark.parametrize("name", EVERY)
def test_every_option_says_what_it_takes_and_its_default(name: str) -> None:
    """Each option has a section, a metavar that says what is wanted, a help sentence, and `[default: …]` at its end."""
    options = [parameter for parameter in EVERY[name].params if isinstance(parameter, click.Option)]
    context = click.Context(EVERY[name], info_name=name)
    for option in options:
        assert isinstance(option, SectionOption), option.name
        names, text = option.get_help_record(context) or ("", "")
        assert re.fullmatch(r"[A-Z][^\[\]]*\.( \[default: [^\[\]()]+\])?", text), (option.name, text)
        assert not re.search(r"\b(TEXT|INTEGER|FLOAT|RANGE|PATH|BOOLEAN|UUID)\b", names), names
        has_default = option.to_info_dict()["default"] not in (None, (), "") and not option.is_flag
        assert not has_default or "[default: " in text, option.name


def test_the_help_is_in_sections() -> None:
    """The options of compress stand in sections of the same kind, and `--help` with the output."""
    compress = EVERY["compress"]
    text = compress.get_help(click.Context(compress, info_name="compress"))
    titles = ["Network and data", "Goals", "Search", "Training", "Output"]
    assert [line[:-1] for line in text.splitlines() if re.fullmatch(r"\w[\w ]+:", line)] == titles
    assert "--help" in text.partition("\nOutput:\n")[2]


def test_summary_is_the_first_line_of_the_help(command: click.Command) -> None:
    """What `edgecnn --help` says of a command, without importing it, is what the command says of itself."""
    assert command.name is not None
    help_text = inspect.cleandoc((command.help or "").replace("\b", ""))
    assert help_text.splitlines()[0] == COMMANDS[command.name]


def test_the_group_lists_every_command() -> None:
    """`edgecnn --help` lists all commands, sorted."""
    text = cli.get_help(click.Context(cli, info_name="edgecnn"))
    listed = [line.split()[0] for line in text.partition("Commands:\n")[2].splitlines() if line[2:3].strip()]
    assert listed == sorted(COMMANDS)
