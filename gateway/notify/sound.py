"""Local sound: plays a tone by a command; delivered once the command has ended with 0.

Guarantees: the command is started without a shell, words of an alarm are one argument of it and
never read by anything; it is killed when its time is over or the gateway stops; what it prints is
kept to a line. Tones are made once, in the folder given.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from gateway.config.notify import SoundNotifier
from gateway.duty.words import Message
from gateway.notify.contract import NotifyError, TimedOutError
from gateway.notify.tone import tone

MOST_PRINTED = 4096


class Sound:
    """One [[notifier]] of type sound."""

    def __init__(self, config: SoundNotifier, folder: Path) -> None:
        self._config = config
        self._folder = folder

    async def send(self, message: Message) -> None:
        """Play; see contract.py."""
        try:
            file = self._config.file or self._tone(message.priority)
            process = await asyncio.create_subprocess_exec(
                *self._command(str(file), message.text(self._config.language)),
                stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise NotifyError(f"the player cannot be started: {said}") from error
        try:
            async with asyncio.timeout(self._config.timeout_s):
                printed = await _printed(process)
                await process.wait()
        except TimeoutError as error:
            said = f"the player did not end within {self._config.timeout_s:g} s"
            raise TimedOutError(said) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            raise NotifyError(f"the player ended with {process.returncode}: {printed or 'no word'}")

    def _command(self, file: str, text: str) -> list[str]:
        if not self._config.command:
            return ["aplay", "-q", "-D", self._config.device, file]
        return [word.replace("{file}", file) if word != "{text}" else text
                for word in self._config.command]  # fmt: skip

    def _tone(self, priority: int) -> Path:
        path = self._folder / f"tone-{priority}.wav"
        content = tone(priority)
        if not path.is_file() or path.stat().st_size != len(content):
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return path


async def _printed(process: Process) -> str:
    assert process.stderr is not None  # noqa: S101 - a pipe was asked for
    printed = b""
    while part := await process.stderr.read(MOST_PRINTED):
        printed = (printed + part)[:MOST_PRINTED]
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""
