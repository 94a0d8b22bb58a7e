"""The camera process's end of the socket to the gateway."""

from __future__ import annotations

import socket

from vision.events import AnyMessage, MessageDecoder, encode


class Link:
    """The socket to the gateway. Sending waits, which is how back-pressure arrives here."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._decoder = MessageDecoder()
        self.closed = False

    def fileno(self) -> int:
        """Readable when the gateway has sent something or has gone."""
        return self._socket.fileno()

    def send(self, message: AnyMessage) -> None:
        """Send one message; a gateway that has gone sets `closed`."""
        try:
            self._socket.sendall(encode(message))
        except OSError:
            self.closed = True

    def receive(self) -> list[AnyMessage]:
        """Messages that are there; waits for the first byte. An end sets `closed`."""
        try:
            received = self._socket.recv(65536)
        except OSError:
            received = b""
        self.closed = self.closed or not received
        return self._decoder.feed(received)

    def close(self) -> None:
        """Close the socket."""
        self.closed = True
        self._socket.close()
