"""A group of commands whose --help says each command's whole first sentence."""

from __future__ import annotations

import click


class Group(click.Group):
    """Lists its commands with all of their first paragraph; click cuts it off at a line's end."""

    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, wrapped."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _said(one)) for name, one in sorted(self.commands.items())])


def _said(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())
