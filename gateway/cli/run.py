"""`plantgate run SITE.toml`: run the gateway until SIGTERM or Ctrl-C.

Exit 0 after a clean stop; 2 for a mistake in the configuration or an unusable data directory; 1 if
something else stands in the way that may pass (a port that is taken, a full disk). Each is one line
a mistake. A signal counts from the first line of the command on, and a second one changes nothing.
SIGHUP applies the site file and its tables anew, or says why not (gateway/sources/reload.py).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.config.load import Site

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXAMPLE = """\b
Example:
  plantgate check site.toml && plantgate run site.toml
"""


@click.command("run", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
def command(site: Path) -> None:
    """Run the gateway that SITE (a TOML file) describes, until SIGTERM or Ctrl-C.

    SIGHUP reads SITE and its tables again: what changed is restarted, everything else goes on. If
    anything is wrong, nothing is changed. The files that ran before are in config/previous of the
    data directory.
    """
    from gateway.runtime.loop import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(_until_stopped(site))
    sys.exit(code)


async def _until_stopped(path: Path) -> int:
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    code = await _run(path, stop, again)
    if stop.is_set():
        for number in (*STOP_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # while the interpreter winds down
    return code


async def _run(path: Path, stop: asyncio.Event, again: asyncio.Event) -> int:
    """Run and give the exit code. Imports late, so that a signal meanwhile is not missed."""
    from buffer.contract import BufferPathError, NotStoredError
    from gateway.app import run
    from gateway.config.load import ConfigError, load
    from gateway.observe.listen import ListenError
    from gateway.observe.log import logger

    def read() -> Site:
        site = load(path)
        for warning in site.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return site

    try:
        await run(read, stop, again)
        logger("app").info("stopped: what was acquired is stored")
    except (ConfigError, BufferPathError) as error:
        print(error, file=sys.stderr)
        return 2
    except ListenError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    except NotStoredError as error:
        print(f"{path}: the data directory takes nothing: {error}", file=sys.stderr)
        return 1
    return 0
