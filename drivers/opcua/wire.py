"""A bounded cursor over OPC UA binary encoding (OPC 10000-6, 5.2). Pure.

Guarantees: reads only inside the given bytes; any lack, any impossible length and any nesting
deeper than 8 raises CodecError and nothing else. Used where bytes are few: headers of responses
and values of variable length. Columns of numbers are read by codec.py with numpy instead.
"""

from __future__ import annotations

import base64
import struct
import uuid

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")

MAX_DEPTH = 8
"""Variants, data values and diagnostics may contain themselves; no real server needs more."""

FIXED_SIZES = {
    0: 0, 1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4
}  # fmt: skip
"""Bytes of a built-in type's value by its id (OPC 10000-6, table 1), where that is fixed."""

MAX_TEXT_BYTES = 65_536
"""A longer text is no measured value."""

NodeKey = tuple[int, int | str | uuid.UUID | bytes]
"""Namespace index and identifier of a NodeId, as one session's server numbers it."""

STRING, BYTE_STRING, XML_ELEMENT = 12, 15, 16
NODE_ID, EXPANDED_NODE_ID = 17, 18
QUALIFIED_NAME, LOCALIZED_TEXT, EXTENSION_OBJECT = 20, 21, 22
DATA_VALUE, VARIANT, DIAGNOSTIC_INFO = 23, 24, 25


class CodecError(ValueError):
    """The bytes are no valid OPC UA encoding of what was expected."""


class Cursor:
    """Reads forward over bytes; `position` is the next byte, `end` one past the last."""

    __slots__ = ("content", "end", "position")

    def __init__(self, content: bytes, position: int = 0, end: int | None = None) -> None:
        self.content = content
        self.position = position
        self.end = len(content) if end is None else end

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns where they began."""
        start = self.position
        if size < 0 or size > self.end - start:
            raise CodecError(f"{size} bytes wanted at {start}, {self.end - start} left")
        self.position = start + size
        return start

    def u8(self) -> int:
        """One byte."""
        return self.content[self.skip(1)]

    def u16(self) -> int:
        """UInt16."""
        return int(_U16.unpack_from(self.content, self.skip(2))[0])

    def u32(self) -> int:
        """UInt32, StatusCode."""
        return int(_U32.unpack_from(self.content, self.skip(4))[0])

    def i32(self) -> int:
        """Int32."""
        return int(_I32.unpack_from(self.content, self.skip(4))[0])

    def i64(self) -> int:
        """Int64; DateTime as ticks of 100 ns since 1601."""
        return int(_I64.unpack_from(self.content, self.skip(8))[0])

    def count(self, least: int) -> int:
        """Length of an array whose elements take at least `least` bytes; null counts as 0."""
        length = self.i32()
        if not -1 <= length <= (self.end - self.position) // max(least, 1):
            raise CodecError(f"an array of {length} elements in its message")
        return max(length, 0)

    def span(self) -> tuple[int, int]:
        """Start and end of a String or ByteString; null is empty, as length -1 says."""
        length = self.i32()
        if length < -1:  # whoever wrote it meant something else: what follows would be guessed
            raise CodecError(f"a text of {length} bytes")
        start = self.skip(max(length, 0))
        return start, self.position

    def text(self) -> str:
        """Read a String; bytes that are no UTF-8 become U+FFFD."""
        start, end = self.span()
        return self.content[start:end].decode("utf-8", errors="replace")

    def node_id(self) -> tuple[int, int | None]:
        """Read a NodeId or ExpandedNodeId: namespace index and number; None where not numeric."""
        encoding = self.u8()
        form = encoding & 0x3F
        namespace, number = 0, None
        if form == 0:
            number = self.u8()
        elif form == 1:
            namespace, number = self.u8(), self.u16()
        elif form == 2:
            namespace, number = self.u16(), self.u32()
        elif form in (3, 5):
            namespace = self.u16()
            self.span()
        elif form == 4:
            namespace = self.u16()
            self.skip(16)
        else:
            raise CodecError(f"NodeId of unknown form {form}")
        if encoding & 0x80:
            self.span()
        if encoding & 0x40:
            self.u32()
        return namespace, number

    def node(self) -> NodeKey:
        """Read a NodeId: namespace index and identifier; a null one is (0, 0)."""
        encoding = self.u8()
        if encoding == 0:
            return 0, self.u8()
        if encoding == 1:
            return self.u8(), self.u16()
        if encoding > 5:
            raise CodecError(f"NodeId of unknown form {encoding}")
        namespace = self.u16()
        if encoding == 2:
            return namespace, self.u32()
        if encoding == 3:
            return namespace, self.text()
        if encoding == 4:
            start = self.skip(16)
            return namespace, uuid.UUID(bytes_le=self.content[start : start + 16])
        start, end = self.span()
        return namespace, self.content[start:end]

    def node_text(self) -> str:
        """Read a NodeId as text, as ns=2;s=Tank1; a null one is empty."""
        return node_words(self.node())

    def extension_object(self) -> tuple[tuple[int, int | None], int, int]:
        """Read type id, start and end of the body (equal where there is none)."""
        type_id = self.node_id()
        encoding = self.u8()
        if encoding == 0:
            return type_id, self.position, self.position
        if encoding not in (1, 2):
            raise CodecError(f"ExtensionObject of unknown encoding {encoding}")
        start, end = self.span()
        return type_id, start, end

    def skip_variant(self, depth: int = 0) -> None:
        """Pass over a Variant, arrays and dimensions included."""
        encoding = self.u8()
        self.skip_variant_body(encoding, depth)

    def skip_variant_body(self, encoding: int, depth: int = 0) -> None:
        """Pass over what follows a Variant's encoding byte."""
        built_in = encoding & 0x3F
        if not encoding & 0x80:
            if encoding & 0x40:
                raise CodecError("a Variant with dimensions that is no array")
            self.skip_value(built_in, depth)
            return
        size = FIXED_SIZES.get(built_in)
        length = self.count(1 if size is None else size)
        if size is not None:
            self.skip(size * length)
        else:
            for _ in range(length):
                self.skip_value(built_in, depth)
        if encoding & 0x40:
            self.skip(4 * self.count(4))

    def skip_value(self, built_in: int, depth: int) -> None:
        """Pass over one value of a built-in type; ids 26 to 31 are read as ByteString."""
        if depth > MAX_DEPTH:
            raise CodecError(f"values nested deeper than {MAX_DEPTH}")
        size = FIXED_SIZES.get(built_in)
        if size is not None:
            self.skip(size)
        elif built_in in (DATA_VALUE, VARIANT, DIAGNOSTIC_INFO):
            self._skip_nesting(built_in, depth + 1)
        elif built_in in (NODE_ID, EXPANDED_NODE_ID):
            self.node_id()
        elif built_in == LOCALIZED_TEXT:
            self.localized_text()
        elif built_in == EXTENSION_OBJECT:
            self.extension_object()
        else:
            self.skip(2 if built_in == QUALIFIED_NAME else 0)
            self.span()

    def _skip_nesting(self, built_in: int, depth: int) -> None:
        if built_in == DATA_VALUE:
            self.skip_data_value(depth)
        elif built_in == VARIANT:
            self.skip_variant(depth)
        else:
            self.skip_diagnostic_info(depth)

    def localized_text(self) -> str:
        """Read a LocalizedText's text, without its locale."""
        mask = self.u8()
        if mask & 0x01:
            self.span()
        return self.text() if mask & 0x02 else ""

    def text_of(self, built_in: int) -> str | None:
        """Read a text of any built-in type of texts; None for another, or one that is too long."""
        start = self.position
        if built_in in (STRING, XML_ELEMENT):
            text = self.text()
        elif built_in == LOCALIZED_TEXT:
            text = self.localized_text()
        elif built_in == QUALIFIED_NAME:
            self.u16()
            text = self.text()
        else:
            self.skip_value(built_in, 0)
            return None
        return text if self.position - start <= MAX_TEXT_BYTES else None

    def skip_data_value(self, depth: int) -> None:
        """Pass over a DataValue."""
        mask = self.u8()
        if mask & 0x01:
            self.skip_variant(depth)
        for bit, size in ((0x02, 4), (0x04, 8), (0x10, 2), (0x08, 8), (0x20, 2)):
            if mask & bit:
                self.skip(size)

    def skip_diagnostic_info(self, depth: int = 0) -> None:
        """Pass over a DiagnosticInfo (OPC 10000-6, 5.2.2.12)."""
        if depth > MAX_DEPTH:
            raise CodecError(f"values nested deeper than {MAX_DEPTH}")
        mask = self.u8()
        for bit in (0x01, 0x02, 0x04, 0x08):
            if mask & bit:
                self.skip(4)
        if mask & 0x10:
            self.span()
        if mask & 0x20:
            self.skip(4)
        if mask & 0x40:
            self.skip_diagnostic_info(depth + 1)


def node_words(key: NodeKey) -> str:
    """Write a NodeId as text, as ns=2;s=Tank1; a null one is empty."""
    namespace, identifier = key
    if key == (0, 0):
        return ""
    if isinstance(identifier, int):
        word = f"i={identifier}"
    elif isinstance(identifier, str):
        word = f"s={identifier}"
    elif isinstance(identifier, bytes):
        word = f"b={base64.b64encode(identifier).decode()}"
    else:
        word = f"g={identifier}"
    return f"ns={namespace};{word}" if namespace else word


__all__ = [
    "FIXED_SIZES", "MAX_DEPTH", "MAX_TEXT_BYTES", "CodecError", "Cursor", "NodeKey", "node_words",
]  # fmt: skip
