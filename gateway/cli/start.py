"""Where the command `plantgate` begins: Ctrl-C is quiet from here on.

Guarantees: whoever presses Ctrl-C while modules are loaded, on a slow machine for seconds, ends the
command without a traceback; nothing was begun then. From the command's first line on the signal is
the command's own.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Load the group of all commands and run one."""
    from gateway.cli.main import main as command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


__all__ = ["main"]
