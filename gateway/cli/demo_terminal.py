"""Draws a few lines over and over in a terminal, without flicker.

Nothing is blanked before it is written again; the cursor is hidden meanwhile; lines are cut to the
terminal, because one that wraps would push all later drawings down.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from typing import Self, TextIO

from gateway.cli.demo_view import fitted

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"


class Terminal:
    """`with Terminal(sys.stdout) as terminal:`; writes nothing unless it is `live`."""

    def __init__(self, stream: TextIO) -> None:
        self.live = stream.isatty()
        self._stream = stream
        self._shown = 0

    def __enter__(self) -> Self:
        self._write(_HIDE_CURSOR)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._write(_SHOW_CURSOR)

    def draw(self, lines: Sequence[str]) -> None:
        """Write lines in the place of those drawn last."""
        size = shutil.get_terminal_size()
        fitting = [fitted(line, size.columns - 1) for line in lines[: size.lines - 1]]
        up = f"\x1b[{self._shown}A" if self._shown else ""
        body = "".join(f"{line}{_TO_LINE_END}\n" for line in fitting)
        self._write(f"\r{up}{body}{_TO_SCREEN_END}")
        self._shown = len(fitting)

    def _write(self, text: str) -> None:
        if self.live:
            self._stream.write(text)
            self._stream.flush()
