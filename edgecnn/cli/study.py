"""`edgecnn study`: families of networks: what is published, counted, trained and deployed."""

from __future__ import annotations

import click

from edgecnn.cli.sections import Group
from edgecnn.cli.shared import common
from edgecnn.cli.study_deploy import deploy
from edgecnn.cli.study_runs import prune, quantize, run
from edgecnn.cli.study_tables import list_all, show, table


@click.group("study", cls=Group)
@common
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Studies of many networks: published, counted, trained and deployed figures.

    A study is a TOML file: the networks, their data, and what was published about them. Every figure is labelled
    published, counted, measured or estimated.

    \b
    Example:
      edgecnn study list
      edgecnn study show resnet101-cifar10
      edgecnn study table resnet101-cifar10 --format markdown
    """


for subcommand in (list_all, show, table, run, prune, quantize, deploy):
    command.add_command(subcommand)
