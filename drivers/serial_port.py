"""A serial port set up by pyserial and read by the event loop; shared by the drivers of lines.

Guarantees: the port is locked against a second user; it is read through `loop.add_reader` on its
descriptor (asyncio and uvloop alike), without a thread; a converter that is pulled out is noticed
at once and ends the pipe with a reason. Imported only where a serial port is configured.

Not seen on a real converter: RS-485 direction control by the kernel (`rs485`) is set as pyserial
documents it, and a pseudo terminal refuses it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from collections.abc import Callable
from typing import Any, Protocol, cast

import serial
from serial.rs485 import RS485Settings
from serial.serialposix import Serial

from drivers.serial_names import ports_that_exist

_READ_BYTES = 4096
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class PortError(Exception):
    """The port cannot be used; the message says why, without a full stop."""


class PortSettings(Protocol):
    """Keys of a [[device]] on a serial line, as its driver's configuration has them."""

    @property
    def serial(self) -> str:
        """Path of the port."""
        ...

    @property
    def baud(self) -> int:
        """Bits per second."""
        ...

    @property
    def data_bits(self) -> int:
        """7 or 8."""
        ...

    @property
    def parity(self) -> str:
        """One of none, even, odd."""
        ...

    @property
    def stop_bits(self) -> int:
        """1 or 2."""
        ...

    @property
    def rs485(self) -> bool:
        """Whether the kernel switches the direction of the line."""
        ...

    @property
    def rs485_rts_low(self) -> bool:
        """Whether RTS is low while sending."""
        ...


class _Port(Protocol):
    """What is used of pyserial, which has no types."""

    is_open: bool
    rs485_mode: object

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def reset_input_buffer(self) -> None: ...


_open = cast("Callable[..., _Port]", Serial)
_rs485_settings = cast("Callable[..., Any]", RS485Settings)


class SerialPipe:
    """An open port. received: takes bytes.  ended: is told once why the port is gone."""

    def __init__(
        self, port: _Port, received: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> None:
        self._port = port
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._fd = port.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def write(self, frame: bytes) -> None:
        """Send a frame; at most 513 bytes, which the kernel's buffer of 4 KiB always takes."""
        try:
            sent = os.write(self._fd, frame)
        except OSError as error:
            self._end(f"the serial port cannot be written: {error.strerror}")
            return
        if sent != len(frame):
            self._end("the serial port takes no more bytes")

    def abort(self) -> None:
        """Close the port at once."""
        if self._port.is_open:
            self._loop.remove_reader(self._fd)
            self._port.close()

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"the serial port is gone: {error.strerror}")
            return
        if chunk:
            self._received(chunk)
        else:
            self._end("the serial port is gone")

    def _end(self, reason: str) -> None:
        self.abort()
        self._ended(reason)


def open_port(
    settings: PortSettings,
    received: Callable[[bytes], None],
    ended: Callable[[str], None],
    *,
    mark_errors: bool = False,
) -> SerialPipe:
    """Open and set up a port, and read it from now on; raises PortError with the reason.

    mark_errors: bytes with an error of parity or framing come marked (PARMRK, termios(3)), and
    every 0xFF twice.
    """
    try:
        port = _open(
            settings.serial,
            settings.baud,
            bytesize=settings.data_bits,
            parity=_PARITY[settings.parity],
            stopbits=settings.stop_bits,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError) as error:  # SerialException is an OSError
        said = f"the serial port cannot be opened: {_reason(error)}"
        if getattr(error, "errno", None) == errno.ENOENT:
            said += ports_that_exist()
        raise PortError(said) from error
    try:
        if settings.rs485:
            low = settings.rs485_rts_low
            port.rs485_mode = _rs485_settings(rts_level_for_tx=not low, rts_level_for_rx=low)
        if mark_errors:
            _mark_errors(port.fileno())
        port.reset_input_buffer()
    except (OSError, ValueError, termios.error) as error:
        port.close()
        raise PortError(f"the serial port cannot be set up: {_reason(error)}") from error
    return SerialPipe(port, received, ended)


def _mark_errors(descriptor: int) -> None:
    attributes = termios.tcgetattr(descriptor)
    attributes[0] = (attributes[0] | termios.INPCK | termios.PARMRK) & ~termios.IGNPAR
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EAGAIN:  # of the lock
        return "another program uses it"
    return os.strerror(number) if number and number > 0 else str(error)


__all__ = ["PortError", "PortSettings", "SerialPipe", "open_port"]
