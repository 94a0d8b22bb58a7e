"""Where the command `plantgate` begins: Ctrl-C is quiet from here on.

Guarantees: whoever presses Ctrl-C while modules are loaded, on a slow machine for seconds, ends the
command without a traceback; nothing was begun then. From the command's first line on the signal is
the command's own. What cannot be printed, because the disk under a redirection is full, is one
sentence and exit code 2; whoever reads through a pipe and has gone is no fault.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TextIO

signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Load the group of all commands and run one."""
    from gateway.cli.main import main as command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            _print_no_more()
            sys.exit(1)
        if error.errno != errno.ENOSPC or not _is_full(sys.stdout):
            raise
        _print_no_more()
        print(f"plantgate: what it prints cannot be written: {error.strerror}"
              " 磁盘已满，输出无法写入", file=sys.stderr)  # fmt: skip
        sys.exit(2)


def _is_full(out: TextIO) -> bool:
    """Does the disk take no more of what is printed (else another file was meant)."""
    try:
        out.write("\n")
        out.flush()
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def _print_no_more() -> None:
    """Nothing is left to fail when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


__all__ = ["main"]
