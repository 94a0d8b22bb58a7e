"""`plantgate run SITE.toml`: run the gateway until SIGTERM or Ctrl-C.

Exit 0 after a clean stop, 2 for a mistake in the configuration or an unusable data directory.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from buffer.contract import BufferPathError
from gateway.config.load import ConfigError, Site, load
from gateway.runtime.loop import loop_factory

EXAMPLE = """\b
Example:
  plantgate check site.toml && plantgate run site.toml
"""


@click.command("run", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
def command(site: Path) -> None:
    """Run the gateway that SITE (a TOML file) describes, until SIGTERM or Ctrl-C."""
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_until_stopped(site))
    except (ConfigError, BufferPathError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


async def _until_stopped(path: Path) -> None:
    from gateway.app import run
    from gateway.observe.log import configure

    def read() -> Site:
        site = load(path)
        for warning in site.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        configure(site.log.level, site.log.format)
        return site

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(read, stop)
