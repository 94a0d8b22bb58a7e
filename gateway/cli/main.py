"""`plantgate`: the group of all commands, each loaded only when it is used.

A command lives in gateway/cli/NAME.py and exports `command`. Here stand only its name and one
line of help, so that `plantgate --help` imports none of them and stays fast.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import version

import click

COMMANDS: Mapping[str, str] = {
    "init": "Write a site file to fill in, every key explained, and a point table.",
    "run": "Run the gateway that a site file describes.",
    "check": "Check a site file and say everything that is wrong with it.",
    "rules": "Print the legal numbers the gateway judges by, with clause and source.",
    "points": "Convert, check and export point tables; make one to fill in.",
    "sim": "Serve the plant's side of a site on this machine, with faults to rehearse.",
    "probe": "Look at one device before it is configured.",
    "demo": "Try it: a simulated plant, a gateway and a receiver on this machine.",
    "receive": "Run a receiver: the platform's end of the line.",
    "consume": "Move a receiver's journal into its store.",
    "backup": "Copy a receiver's store while it runs.",
    "load": "Simulate many gateways against a receiver.",
    "query": "Print what a receiver has stored.",
    "request": "Ask a gateway, through a receiver that runs here, for what it still holds.",
    "alarm": "List, acknowledge, shelve alarms of a gateway that runs here.",
    "notify": "Who is told of alarms: calls that run, who is on duty, a message to try.",
    "declare": "Declare tests and outages of detectors to a gateway that runs here.",
    "report": "Report on a site's alarms: rates, floods, bad actors, answers.",
    "risk": "Grade of the enterprise, risk of its units, and what they raise.",
    "handling": "Follow alarms of vision and special work from new to closed.",
    "permit": "List, enter and end special-work permits of a gateway that runs here.",
    "completeness": "Score what is missing, late or not good, at either end.",
    "buffer": "Look into a gateway's data directory: stat, ls, tail, verify, export, fsck.",
    "camera": "Take a picture with a camera of a gateway that runs here; relearn its view.",
    "recordings": "List what cameras have recorded; take a span of it out.",
    "vision": "Try and measure the models that watch cameras; teach them a site.",
    "console": "Who may use the web console: people, wall displays, its fingerprint.",
    "cert": "Make certificates for trials and for OPC UA.",
}


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; a UsageError where this build lacks it."""
        if cmd_name not in COMMANDS:
            return None
        name = f"gateway.cli.{cmd_name}"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise click.UsageError(f"this build has no command {cmd_name}", ctx) from None
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{name}.command is no click command")
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; what its user may not read or write is one sentence, exit code 2."""
        try:
            return super().invoke(ctx)
        except PermissionError as error:
            print(f"plantgate {ctx.invoked_subcommand}: {error.filename or 'a file'}:"
                  f" {error.strerror}: run it as whose it is (sudo -u plantgate plantgate ...)"
                  " 无权限，请用网关或接收端的用户运行", file=sys.stderr)  # fmt: skip
            sys.exit(2)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, epilog="plantgate COMMAND --help shows an example of each.")
@click.version_option(version("plantgate"), prog_name="plantgate")
def main() -> None:
    """Edge gateway for chemical plants: reads the plant, keeps everything, forwards it."""


if __name__ == "__main__":
    main()
