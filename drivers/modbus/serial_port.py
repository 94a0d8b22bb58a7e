"""A serial port as the pipe of a link: opened by pyserial, read by the event loop, no thread.

Guarantees: the port is locked against a second user; it is read through `loop.add_reader` on its
descriptor (asyncio and uvloop alike); a converter that is pulled out is noticed at once and ends
the link with a reason. Imported only where a serial transport is configured.

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

from drivers.modbus.config import ModbusConfig
from drivers.modbus.link import Link, LinkLostError

_READ_BYTES = 4096
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class _Port(Protocol):
    """What is used of pyserial, which has no types."""

    is_open: bool
    rs485_mode: object

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def reset_input_buffer(self) -> None: ...


_open_port = cast("Callable[..., _Port]", Serial)
_rs485_settings = cast("Callable[..., Any]", RS485Settings)


class SerialPipe:
    """An open port that feeds a link."""

    def __init__(self, port: _Port, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._link = link
        self._loop = loop
        self._fd = port.fileno()
        loop.add_reader(self._fd, self._readable)

    def write(self, frame: bytes) -> None:
        """Send a frame; at most 513 bytes, which the kernel's buffer of 4 KB always takes."""
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
            self._link.data_received(chunk)
        else:
            self._end("the serial port is gone")

    def _end(self, reason: str) -> None:
        self.abort()
        self._link.connection_lost(OSError(reason))


def open_serial(config: ModbusConfig, link: Link, *, mark_errors: bool = False) -> None:
    """Open the port of a device and attach it to a link; raises LinkLostError with the reason.

    mark_errors: bytes with an error of parity or framing come marked (PARMRK, termios(3)), and
    every 0xFF twice; overhear.unmark undoes it.
    """
    try:
        port = _open_port(
            config.serial,
            config.baud,
            bytesize=config.data_bits,
            parity=_PARITY[config.parity],
            stopbits=config.stop_bits,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError) as error:  # SerialException is an OSError
        raise LinkLostError(f"the serial port cannot be opened: {_reason(error)}") from error
    try:
        if config.rs485:
            port.rs485_mode = _rs485_settings(
                rts_level_for_tx=not config.rs485_rts_low, rts_level_for_rx=config.rs485_rts_low
            )
        if mark_errors:
            _mark_errors(port.fileno())
        port.reset_input_buffer()
    except (OSError, ValueError, termios.error) as error:
        port.close()
        raise LinkLostError(f"the serial port cannot be set up: {_reason(error)}") from error
    link.attach(SerialPipe(port, link, asyncio.get_running_loop()))


def _mark_errors(descriptor: int) -> None:
    attributes = termios.tcgetattr(descriptor)
    attributes[0] = (attributes[0] | termios.INPCK | termios.PARMRK) & ~termios.IGNPAR
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EAGAIN:  # of the lock
        return "another program uses it"
    return os.strerror(number) if number else str(error)
