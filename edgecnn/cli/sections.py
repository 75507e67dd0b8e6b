"""Options of a command in titled sections, with their defaults all in one form: `[default: …]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: The titles of sections, in the order of the help. An option with another title is a mistake in our code.
SECTIONS = (
    "Network and data",
    "Goals",
    "Search",
    "Training",
    "Export",
    "Device",
    "Measurement",
    "Comparison",
    "Selection",
    "Output",
)


class SectionOption(click.Option):
    """An option that stands in a section of the help.

    Args:
        section: one of `SECTIONS`.
        default_text: the default in words, where it depends on something else or is not what the user would write.
    """

    def __init__(self, *args: Any, section: str, default_text: str | None = None, **attributes: Any) -> None:
        assert section in SECTIONS, section
        default = attributes.get("default")
        if default_text is None and default is not None and not attributes.get("is_flag"):
            default_text = str(default)
        if default_text is not None:
            attributes["help"] = f"{attributes['help']} [default: {default_text}]"
        super().__init__(*args, **attributes)
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's names and its help, without the ranges that click would add behind the default."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], self.help or "")


def option(*names: str, section: str, default_text: str | None = None, **attributes: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option to a section, else as `click.option` does.

    Example:
        >>> import click
        >>> @click.command("greet", cls=Command)
        ... @option("--name", metavar="NAME", default="you", section="Output", help="Whom to greet.")
        ... def greet(name):
        ...     click.echo(f"hello {name}")
        >>> print(greet.get_help(click.Context(greet, info_name="greet")))
        Usage: greet [OPTIONS]
        <BLANKLINE>
        Output:
          --name NAME  Whom to greet. [default: you]
          --help       Show this message and exit.
    """
    return click.option(*names, cls=SectionOption, section=section, default_text=default_text, **attributes)


class _Sections(click.Command):
    """Writes the help's options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section that has an option."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # newer clicks list arguments as well
                records[getattr(parameter, "section", "Output")].append(record)  # click's own `--help` has no section
        for title, rows in records.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Command(_Sections):
    """A command whose help has sections."""


class Group(_Sections, click.Group):
    """A group of commands whose help has sections; its commands have them as well."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


__all__ = ["SECTIONS", "Command", "Group", "SectionOption", "option"]
