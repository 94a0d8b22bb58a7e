"""What a notifier is."""

from __future__ import annotations

from typing import Protocol

from gateway.duty.words import Message


class NotifyError(Exception):
    """A message was not delivered; one sentence that holds no secret."""


class Notifier(Protocol):
    """Delivers one message; may be asked again after any outcome, never twice at a time."""

    async def send(self, message: Message) -> None:
        """Deliver; returns once whoever takes it has said so. Raises NotifyError.

        Cancel-safe: leaves no connection, task or process behind.
        """
        ...


class TimedOutError(NotifyError):
    """No answer in time; the message may have arrived."""
