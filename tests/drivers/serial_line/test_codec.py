"""Frames as data, frames from anywhere, and descriptions that are refused."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import Quality, quality_word
from drivers.serial_line.checksum import encoded
from drivers.serial_line.codec import ChecksumError, FrameError, FrameFormat
from drivers.serial_line.description import (
    Description,
    DescriptionError,
    parse_description,
    unescaped,
)
from drivers.serial_line.splitter import Splitter
from tests.fakes.modbus_line import crc16
from tests.fakes.serial_device import gas_frame, gas_request, lrc

CASES = Path(__file__).parents[3] / "drivers" / "serial_line" / "cases"
GAS = (CASES / "gas_example.toml").read_text(encoding="utf-8")
SCALE = (CASES / "weighing_example.toml").read_text(encoding="utf-8")
FIXED = """
[frame]
source = "made-up"
verified = true
length = 8
start = '#'
checksum = {kind = "crc16-modbus", encoding = "binary", order = "low_first"}
pattern = [{literal = '#'}, {skip = 1}, {hex = "raw", width = 4, signed = true}, {checksum = true}]
[[field]]
name = "raw"
kind = "int"
"""
STX_BCC = r"""
[frame]
source = "made-up"
verified = true
terminator = '\x03'
start = '\x02'
checksum = {kind = "bcc", encoding = "binary", first_byte = 1}
pattern = [{literal = '\x02'}, {number = "level", until = '\x03'}, {literal = '\x03'}, {checksum = true}, {literal = '\r\n'}]
[[field]]
name = "level"
"""  # noqa: E501  # as a person writes it


def vectors() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("*.vectors.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        name = path.name.removesuffix(".vectors.toml")
        for at, vector in enumerate(data["vector"]):
            found.append(pytest.param(name, data, vector, id=f"{name}-{at}"))
    return found


@pytest.mark.parametrize(("name", "data", "vector"), vectors())
def test_vector(name: str, data: dict[str, Any], vector: dict[str, Any]) -> None:
    description = parse_description((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    address = data.get("address", "")
    if "request" in data:
        assert description.request_for(address) == unescaped(data["request"]).encode("latin-1")
    frame = unescaped(vector["frame"]).encode("latin-1")
    codec = FrameFormat(description, address)
    if "error" in vector:
        with pytest.raises(FrameError) as caught:
            codec.parse(frame)
        assert type(caught.value).__name__ == vector["error"]
        return
    found: dict[str, list[object]] = {}
    for field, one in codec.parse(frame).items():
        bad = isinstance(one.value, float) and math.isnan(one.value)
        found[field] = ["none" if bad else one.value, quality_word(one.quality)]
    assert found == vector["fields"]


@given(covered=st.binary(max_size=64))
def test_check_sums_are_those_of_another_hand(covered: bytes) -> None:
    assert encoded("lrc", covered, "hex") == lrc(covered)
    assert encoded("crc16-modbus", covered, "binary", "low_first") == crc16(covered)
    bcc = 0
    for byte in covered:
        bcc ^= byte
    assert encoded("bcc", covered, "binary") == bytes([bcc]) == encoded("xor", covered, "binary")
    assert encoded("sum8", covered, "hex") == b"%02X" % (sum(covered) % 256)


@given(
    address=st.sampled_from(["01", "42"]),
    state=st.sampled_from("NWCF"),
    tenths=st.integers(0, 9999),
    alarms=st.integers(0, 255),
)
def test_what_was_sent_is_what_is_read(address: str, state: str, tenths: int, alarms: int) -> None:
    frame = gas_frame(address, state, tenths, alarms)
    found = FrameFormat(parse_description(GAS), address).parse(frame)
    assert found["alarms"].value == alarms
    assert found["state"].value == "NWCF".find(state) or state == "F"
    if state == "F":
        assert math.isnan(float(found["gas"].value))
        assert found["gas"].quality == Quality.BAD_SENSOR_FAULT
    else:
        assert found["gas"].value == tenths / 10


@given(at=st.integers(0, 12), flip=st.integers(1, 255), tenths=st.integers(0, 9999))
def test_one_wrong_byte_is_never_a_value(at: int, flip: int, tenths: int) -> None:
    frame = bytearray(gas_frame("01", "N", tenths, 26))
    assert len(frame) == 13
    before = bytes(frame)
    frame[at] ^= flip
    if bytes(frame).upper() == before:  # the check sum in small letters is the same one
        return
    with pytest.raises(FrameError):
        FrameFormat(parse_description(GAS), "01").parse(bytes(frame))


@pytest.mark.parametrize("text", [GAS, SCALE, FIXED, STX_BCC])
def test_hostile_bytes_raise_nothing_but_frame_error(text: str) -> None:
    description = parse_description(text)
    codec = FrameFormat(description, "01")

    @given(frame=pieces(description))
    @example(frame=b"")
    def hostile(frame: bytes) -> None:
        try:
            found = codec.parse(frame)
        except FrameError:
            return
        assert {row.name for row in description.field} == set(found)
        for row in description.field:
            assert isinstance(found[row.name].value, str) == (row.kind == "text")

    hostile()


def pieces(description: Description) -> st.SearchStrategy[bytes]:
    """Bytes that begin like frames more often than by chance."""
    literals = [
        unescaped(item.literal.replace("{address}", "01")).encode("latin-1")
        for item in description.frame.pattern
        if item.literal
    ]
    digits = st.text("0123456789+-. AFST", max_size=9).map(str.encode)
    return st.lists(st.sampled_from(literals) | digits | st.binary(max_size=6)).map(b"".join)


@given(
    chunks=st.lists(st.binary(max_size=80)),
    cuts=st.lists(st.integers(1, 20), min_size=1),
    before=st.integers(0, 3),
)
def test_the_splitter_is_bounded_and_finds_the_frame_behind_rubbish(
    chunks: list[bytes], cuts: list[int], before: int
) -> None:
    good = gas_frame("01", "N", 125, 26)
    for text, end in ((GAS, good), (FIXED, fixed_frame(-2)), (SCALE, b"ST,GS,+  123.4kg\r\n")):
        description = parse_description(text)
        splitter, codec = Splitter(description), FrameFormat(description, "01")
        rubbish = b"".join(chunks)
        stream = rubbish + (b"\r\n" if text is SCALE else b"") + end[:before] + end + end
        if text is SCALE:
            stream += end  # its frames have no start, so a cut one spoils the next
        found, at, turn = 0, 0, 0
        while at < len(stream):
            size = cuts[turn % len(cuts)]
            for frame in splitter.feed(stream[at : at + size]):
                assert len(frame) <= description.frame.max_bytes
                try:
                    codec.parse(frame)
                    found += 1
                except FrameError:
                    splitter.refuse()
            assert len(splitter._held) < 2 * description.frame.max_bytes
            at += size
            turn += 1
        assert found >= 2


def fixed_frame(value: int) -> bytes:
    body = b"#x%04X" % (value & 0xFFFF)
    return body + crc16(body)


def test_fixed_length_signed_hex_and_a_binary_sum_behind_the_terminator() -> None:
    found = FrameFormat(parse_description(FIXED)).parse(fixed_frame(-2))
    assert found["raw"].value == -2
    description = parse_description(STX_BCC)
    assert description.trailing_bytes() == 3
    body = b"10.7\x03"
    frame = b"\x02" + body + encoded("xor", body, "binary") + b"\r\n"
    assert list(Splitter(description).feed(b"7\x03" + frame)) == [frame]
    assert FrameFormat(description).parse(frame)["level"].value == 10.7
    with pytest.raises(ChecksumError):
        FrameFormat(description).parse(frame.replace(b"10.7", b"10.6"))


def test_a_frame_whose_beginning_was_missed_is_no_frame() -> None:
    description = parse_description(SCALE)
    whole = b"ST,GS,+  123.4kg\r\n"
    assert list(Splitter(description).feed(whole[3:] + whole)) == [whole]
    assert list(Splitter(description).feed(b"\r\n" + b"9" * 100 + whole + whole)) == [whole]


REFUSED = [
    ("reads_only = true\n", "", "nothing says that it only reads"),
    ('reads_only_source = "made-up example: R reads, no real device"\n', "", "refused"),
    ("terminator = '\\x03'", "", "either terminator or length"),
    ("terminator = '\\x03'", "terminator = '\\x04'", "must end with the terminator"),
    ("start = '\\x02'", "start = '\\x05'", "first item"),
    ("  {checksum = true},\n", "", "go together"),
    ('{text = "state", width = 1}', '{text = "state"}', "either width or until"),
    ('{text = "state", width = 1}', '{text = "stat", width = 1}', "in both"),
    ('{text = "state", width = 1}', '{regex = "(a+)+"}', "unknown key"),
    (
        '"bad:sensor_fault"}\n\n[[field]]\nname = "al',
        '"no"}\n\n[[field]]\nname = "al',
        "no quality",
    ),
    ('governs = ["gas"]', 'governs = ["gsa"]', "no other field"),
    ("'\\x02{address}R", "'\\q{address}R", "is no escape"),
    ("'\\x02{address}R", '"\\x02{address}R', "single quotes"),
    ('kind = "int"', 'kind = "text"', "needs an item"),
    ("verified = false", "", "verified"),
    ("{checksum}'", "'", "request_checksum"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_a_wrong_description_is_refused_by_name(old: str, new: str, said: str) -> None:
    assert old in GAS
    with pytest.raises(DescriptionError) as caught:
        parse_description(GAS.replace(old, new, 1))
    assert said in str(caught.value)


def test_a_binary_sum_before_the_terminator_is_refused() -> None:
    text = STX_BCC.replace("terminator = '\\x03'", "terminator = '\\r\\n'")
    assert parse_description(text.replace('"binary"', '"hex"')).trailing_bytes() == 0
    with pytest.raises(DescriptionError, match="may look like the terminator"):
        parse_description(text)


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (FIXED, "length = 8", "length = 9", "the pattern has 8 bytes"),
        (SCALE, "max_bytes = 32", "max_bytes = 17", "the pattern has 18 bytes"),
        (SCALE, "OL = 2", "OL = nan", "finite"),
        (FIXED, "start = '#'", "", "needs start"),
    ],
)
def test_a_pattern_that_nothing_fits_is_refused(text: str, old: str, new: str, said: str) -> None:
    assert old in text
    with pytest.raises(DescriptionError, match=said):
        parse_description(text.replace(old, new))


@given(text=st.text() | st.text().map(lambda more: GAS + more))
def test_any_text_is_a_description_or_refused(text: str) -> None:
    try:
        parse_description(text)
    except DescriptionError:
        return


def test_the_request_is_the_one_of_the_document() -> None:
    description = parse_description(GAS)
    assert description.request_for("07") == gas_request("07")
    with pytest.raises(ValueError, match="asked nothing"):
        parse_description(SCALE).request_for("")
