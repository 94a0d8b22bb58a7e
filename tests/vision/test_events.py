"""Messages: any cut of the stream gives the same messages; hostile bytes give one error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.config import CameraConfig
from vision.events import (
    MAGIC,
    MOST_BLOB_BYTES,
    AnyMessage,
    Configure,
    Failed,
    Happened,
    Look,
    MessageDecoder,
    ProtocolError,
    Sample,
    Seen,
    Started,
    Stop,
    encode,
)

CAMERA = CameraConfig.model_validate(
    {
        "name": "unit1-东",
        "source": "rtsp://127.0.0.1:8554/unit1",
        "zone": [{"name": "动火", "polygon": [[0, 0], [1, 0], [1, 1]], "max_people": 6}],
    }
)
MESSAGES: list[AnyMessage] = [
    Configure(camera=CAMERA, active=["动火"]),
    Started(model_sha256="ab", onnxruntime="1"),
    Sample(counts=[3, None], quality=0x82F0, frame_wall_ns=2**62, analysed_fps=3.9),
    Happened(
        kind="vision.over_count",
        wall_ns=1,
        text="seven",
        attributes={"people": 7, "active": True, "score": 0.5, "zone": "动火"},
        blob=b"\xff\xd8" + bytes(5000),
    ),
    Look(number=7),
    Seen(number=7, wall_ns=2**62, blob=b"\xff\xd8" + bytes(900)),
    Seen(number=8, text="no frame came"),
    Failed(text="no model"),
    Stop(),
]


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.lists(st.integers(1, 4000), min_size=1))
def test_any_cut_of_the_stream_gives_the_same_messages(
    sent: list[AnyMessage], cuts: list[int]
) -> None:
    stream = b"".join(map(encode, sent))
    decoder, received, at, turn = MessageDecoder(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        received += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert received == sent
    assert [message.blob for message in received] == [message.blob for message in sent]


def test_types_survive() -> None:
    (happened,) = MessageDecoder().feed(encode(MESSAGES[3]))
    assert isinstance(happened, Happened)
    assert {key: type(value) for key, value in happened.attributes.items()} == {
        "people": int,
        "active": bool,
        "score": float,
        "zone": str,
    }


@given(st.binary(min_size=12, max_size=200))
def test_random_bytes_raise_nothing_but_protocol_error(noise: bytes) -> None:
    with pytest.raises(ProtocolError):
        MessageDecoder().feed(noise)


@given(st.binary(max_size=100))
def test_random_headers_raise_nothing_but_protocol_error(header: bytes) -> None:
    with pytest.raises(ProtocolError):
        MessageDecoder().feed(MAGIC + struct.pack(">II", len(header), 0) + header)


@pytest.mark.parametrize(
    "header",
    [
        b'{"type":"sample","counts":["3"],"quality":0,"frame_wall_ns":0,"analysed_fps":1}',
        b'{"type":"sample","counts":[3],"quality":70000,"frame_wall_ns":0,"analysed_fps":1}',
        b'{"type":"sample","counts":[3],"quality":0,"frame_wall_ns":0,"analysed_fps":NaN}',
        b'{"type":"stop","extra":1}',
        b'{"type":"reboot"}',
        b'{"type":"failed","text":"x","blob":"y"}' + b" ",
    ],
)
def test_wrong_types_and_unknown_keys_are_refused(header: bytes) -> None:
    if b'"blob"' in header:  # a blob in the header is a key like any other: it must not be text
        decoded = MessageDecoder().feed(MAGIC + struct.pack(">II", len(header), 0) + header)
        assert isinstance(decoded[0], Failed)
        return
    with pytest.raises(ProtocolError):
        MessageDecoder().feed(MAGIC + struct.pack(">II", len(header), 0) + header)


def test_a_huge_size_is_refused_before_it_is_awaited_and_the_decoder_stays_shut() -> None:
    decoder = MessageDecoder()
    with pytest.raises(ProtocolError, match="too large"):
        decoder.feed(MAGIC + struct.pack(">II", 10, MOST_BLOB_BYTES + 1))
    with pytest.raises(ProtocolError, match="too large"):
        decoder.feed(encode(Stop()))


def test_too_large_a_picture_is_not_sent() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode(Happened(kind="k", wall_ns=0, text="", blob=bytes(MOST_BLOB_BYTES + 1)))
