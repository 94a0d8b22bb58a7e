"""`plantgate probe`: look at one device or server before it is configured, each kind a command.

A kind lives in gateway/cli/probe_KIND.py and exports `command`; it is imported when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

KINDS: Mapping[str, str] = {
    "modbus": "Read a Modbus device once: values, states, raw registers, address base.",
    "bus": "Listen to an RS-485 line: masters, devices, errors, baud rate. 监听总线",
    "camera": "Find cameras; see what one gives: streams, codecs, a picture. 查找摄像机",
    "opcua": "Ask an OPC UA server what it offers: endpoints, policies, limits, namespaces.",
}


class ProbeGroup(click.Group):
    """A group that imports the module of a kind when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the kinds."""
        return list(KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one kind."""
        if cmd_name not in KINDS:
            return None
        module = importlib.import_module(f"gateway.cli.probe_{cmd_name}")
        found = module.command
        if not isinstance(found, click.Command):
            raise TypeError(f"gateway.cli.probe_{cmd_name}.command is no click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of kinds without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(KINDS.items()))


@click.command(
    "probe",
    cls=ProbeGroup,
    epilog="\b\nExample:\n  plantgate probe modbus 192.0.2.10 --unit 17",
)
def command() -> None:
    """Look at one device before it is configured; reads only, once."""
