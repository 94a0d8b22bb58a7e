"""Modbus TCP frames, to the letter: nothing that could change the plant can be encoded.

Guarantees:

- A `Request` with any function but 1, 2, 3, 4, 7, 17, 20 or 43/14 cannot be made, and
  `Request.frame` is the only thing here that makes bytes. There is no switch that would allow
  more: some gas detectors zero or disable themselves on one register write.
- `payload` accepts an answer only if transaction, protocol id, unit, function, the length in the
  header and the byte count all are what the request must get. Anything else is refused, so a short
  or foreign answer never becomes a value.

Constraints, from the Modbus Application Protocol Specification V1.1b3 and the Modbus Messaging on
TCP/IP Implementation Guide V1.0b: a PDU has at most 253 bytes; one read has at most 125 registers
(§6.3) or 2,000 bits (§6.1); multi-byte numbers are big-endian.

    MBAP header                               PDU
    | transaction 2 | protocol 2 = 0 | length 2 | unit 1 | function 1 | content ≤ 252 |
                                       length counts unit, function and content

Pure: no clock, no socket.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field

MAX_REGISTERS = 125
"""Registers of one read, specification §6.3 and §6.4."""
MAX_BITS = 2000
"""Coils or discrete inputs of one read, specification §6.1 and §6.2."""
ADDRESSES = 65536
"""Size of each of the four address spaces, specification §4.4."""

ALLOWED_FUNCTIONS = frozenset({1, 2, 3, 4, 7, 17, 20, 43})
"""Functions that only read. 43 is allowed with MEI type 14 (device identification) alone."""

_MEI_DEVICE_IDENTIFICATION = 14
_MEI_FUNCTION = 43
_COUNTED = frozenset({1, 2, 3, 4, 17, 20})  # answers that begin with a byte count
_HEADER_BYTES = 6  # of MBAP that `length` does not count
_MIN_LENGTH = 3  # unit, function and at least one byte: the shortest legal answer
_MAX_LENGTH = 254  # unit and a PDU of 253 bytes
_EXCEPTION_FLAG = 0x80
_HEADER = struct.Struct(">HHHB")
_LENGTH_UNIT = struct.Struct(">HHB")  # protocol, length, unit


class Area(enum.IntEnum):
    """The four address spaces; the number is the function that reads it."""

    COIL = 1
    DISCRETE = 2
    HOLDING = 3
    INPUT = 4

    @property
    def bits(self) -> bool:
        """Whether the area holds single bits rather than 16-bit registers."""
        return self <= Area.DISCRETE


class RefusedFunctionError(ValueError):
    """Asked to encode a function that is not on the read-only list."""


class FramingError(Exception):
    """The byte stream holds no Modbus TCP frame here; the connection cannot be trusted further."""


class MalformedReplyError(Exception):
    """An answer that does not fit its request: it is refused whole."""


class ExceptionReplyError(Exception):
    """The device answered with a Modbus exception; `code` as in specification §7."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}: {exception_text(code)}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """One read request to one unit.

    unit: 0..255.  pdu: function and content, at most 253 bytes.
    payload_bytes: byte count that the answer must state, or -1 where the device decides.
    Raises RefusedFunctionError if the function is not one that only reads, ValueError if a number
    is out of range.
    """

    unit: int
    pdu: bytes
    payload_bytes: int = -1
    answer_head: bytes = field(init=False, repr=False)
    _tail: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.unit <= 255:
            raise ValueError(f"unit {self.unit} is not in 0..255")
        if not 1 <= len(self.pdu) <= 253:
            raise ValueError(f"a PDU has 1 to 253 bytes, this one {len(self.pdu)}")
        _refuse_unless_reading(self.pdu)
        tail = _LENGTH_UNIT.pack(0, len(self.pdu) + 1, self.unit) + self.pdu
        object.__setattr__(self, "_tail", tail)
        head = b""
        if self.payload_bytes >= 0:
            head = _LENGTH_UNIT.pack(0, self.payload_bytes + 3, self.unit)
            head += bytes((self.pdu[0], self.payload_bytes))
        object.__setattr__(self, "answer_head", head)

    @property
    def function(self) -> int:
        """Modbus function code."""
        return self.pdu[0]

    def frame(self, transaction: int) -> bytes:
        """Encode for the wire under a transaction id of 0..65535."""
        return transaction.to_bytes(2, "big") + self._tail


def read(area: Area, unit: int, address: int, count: int) -> Request:
    """Request to read `count` registers or bits from wire address `address` (from 0).

    Raises ValueError beyond the limits of one request or of the address space.
    """
    most = MAX_BITS if area.bits else MAX_REGISTERS
    if not 1 <= count <= most:
        raise ValueError(f"one request reads 1 to {most} of area {area.name.lower()}, not {count}")
    if not 0 <= address <= ADDRESSES - count:
        raise ValueError(f"address {address} with {count} to read leaves 0..65535")
    payload_bytes = (count + 7) // 8 if area.bits else 2 * count
    return Request(unit, struct.pack(">BHH", area, address, count), payload_bytes)


def report_server_id(unit: int) -> Request:
    """Function 17: a device-specific description."""
    return Request(unit, b"\x11")


def read_device_identification(unit: int, level: int = 1, first_object: int = 0) -> Request:
    """Function 43/14: vendor, product and revision. level: 1 basic, 2 regular, 3 extended."""
    pdu = bytes((_MEI_FUNCTION, _MEI_DEVICE_IDENTIFICATION, level, first_object))
    return Request(unit, pdu)


def frame_bytes(stream: bytes, position: int) -> int:
    """Length in bytes of the frame at `position`, or 0 while more bytes are needed.

    Raises FramingError if no frame can begin there: protocol id not 0, or a length that no
    answer can have. Modbus TCP has no mark to find the next frame by, so the link must go.
    """
    if len(stream) - position < _HEADER_BYTES:
        return 0
    length = (stream[position + 4] << 8) | stream[position + 5]
    if stream[position + 2] or stream[position + 3] or not _MIN_LENGTH <= length <= _MAX_LENGTH:
        raise FramingError(
            f"no Modbus TCP frame begins with {stream[position : position + 8].hex()}"
        )
    whole = length + _HEADER_BYTES
    return whole if len(stream) - position >= whole else 0


def payload(request: Request, transaction: int, frame: bytes) -> bytes:
    """Return what an answer carries after its function code and byte count.

    `frame` is one whole frame. For functions 7 and 43 there is no byte count and the content
    follows the function (43: the MEI type) at once. Raises ExceptionReplyError for a Modbus
    exception, MalformedReplyError for anything that is not exactly what `request` must get.
    """
    if len(frame) < _HEADER_BYTES + _MIN_LENGTH:
        raise MalformedReplyError(f"answer of {len(frame)} bytes is too short")
    answered, protocol, length, unit = _HEADER.unpack_from(frame)
    function = frame[7]
    if protocol != 0 or length + _HEADER_BYTES != len(frame):
        raise MalformedReplyError("header does not fit the frame")
    if answered != transaction:
        raise MalformedReplyError(f"transaction {answered} instead of {transaction}")
    if unit != request.unit:
        raise MalformedReplyError(f"unit {unit} instead of {request.unit}")
    if function == request.function | _EXCEPTION_FLAG and length == _MIN_LENGTH:
        if not frame[8]:  # must not pass for "no exception"
            raise MalformedReplyError("exception without a code")
        raise ExceptionReplyError(frame[8])
    if function != request.function:
        raise MalformedReplyError(f"function {function} instead of {request.function}")
    return _content(request, frame)


def adu_payload(request: Request, adu: bytes) -> bytes:
    """Like `payload`, of an answer without MBAP header and check sum: unit, function, content."""
    return payload(request, 0, len(adu).to_bytes(6, "big") + adu)


def device_identification(content: bytes) -> dict[int, bytes]:
    """Objects of a 43/14 answer by object id; raises MalformedReplyError if cut short."""
    if len(content) < 5:
        raise MalformedReplyError("device identification is too short")
    objects: dict[int, bytes] = {}
    position = 5  # level, conformity, more follows, next object, count
    for _ in range(content[4]):
        if position + 2 > len(content) or position + 2 + content[position + 1] > len(content):
            raise MalformedReplyError("device identification is cut short")
        size = content[position + 1]
        objects[content[position]] = content[position + 2 : position + 2 + size]
        position += 2 + size
    return objects


_EXCEPTION_TEXTS = {
    1: "illegal function 非法功能码",
    2: "illegal data address 非法地址",
    3: "illegal data value 非法数值",
    4: "server device failure 设备故障",
    5: "acknowledge, still working 已确认处理中",
    6: "server device busy 设备忙",
    8: "memory parity error 存储奇偶校验错",
    10: "gateway path unavailable 网关路径不可用",
    11: "gateway target failed to respond 网关目标无响应",
}


def exception_text(code: int) -> str:
    """Name of an exception code, specification §7."""
    return _EXCEPTION_TEXTS.get(code, "unknown code")


def _refuse_unless_reading(pdu: bytes) -> None:
    """Raise RefusedFunctionError unless the PDU can only read."""
    function = pdu[0]
    if function not in ALLOWED_FUNCTIONS:
        raise RefusedFunctionError(f"function {function} is not one that only reads")
    if function == _MEI_FUNCTION and pdu[1:2] != bytes((_MEI_DEVICE_IDENTIFICATION,)):
        raise RefusedFunctionError("function 43 is allowed with MEI type 14 only")


def _content(request: Request, frame: bytes) -> bytes:
    """Content of an answer whose header fits; checks the byte count."""
    if request.function in _COUNTED:
        stated = frame[8]
        if stated != len(frame) - 9:
            raise MalformedReplyError(f"byte count {stated} but {len(frame) - 9} bytes follow")
        if request.payload_bytes not in (-1, stated):
            raise MalformedReplyError(f"{stated} bytes instead of {request.payload_bytes}")
        return frame[9:]
    if request.function == _MEI_FUNCTION:
        if frame[8] != _MEI_DEVICE_IDENTIFICATION:
            raise MalformedReplyError(f"MEI type {frame[8]} instead of 14")
        return frame[9:]
    if len(frame) != _HEADER_BYTES + _MIN_LENGTH:
        raise MalformedReplyError("exception status is not one byte")
    return frame[8:]
