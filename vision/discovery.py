"""Cameras as they are found: the question that ONVIF cameras answer, and where makers put streams.

Pure. Guarantees: an answer that is not well-formed, or that defines entities, is no camera; what a
camera says of itself comes out as plain text.

Sources: WS-Discovery, April 2005, 5 (Probe, ProbeMatches); ONVIF Core Specification, 7.3 (types
and scopes). The paths of streams are as the makers' documents are quoted (secondary sources) and
have **not been seen on a device** yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

MULTICAST = ("239.255.255.250", 3702)
"""Where ONVIF cameras listen: WS-Discovery, 2.4."""
MOST_BYTES = 65_507
_DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware|location)/(\S+)")


@dataclass(frozen=True, slots=True)
class Found:
    """A camera that answered. addresses: of its ONVIF service; the rest as it names itself."""

    addresses: tuple[str, ...]
    name: str = ""
    hardware: str = ""
    location: str = ""

    @property
    def host(self) -> str:
        """Host of its first address."""
        return next((host for one in self.addresses if (host := _host(one))), "")


@dataclass(frozen=True, slots=True)
class Template:
    """Path of one stream of one maker. {channel}: of a recorder, from 1; a camera has only 1."""

    maker: str
    stream: str
    path: str


TEMPLATES = (
    Template("Hikvision 海康威视", "sub-stream 子码流", "/Streaming/Channels/{channel}02"),
    Template("Hikvision 海康威视", "main stream 主码流", "/Streaming/Channels/{channel}01"),
    Template("Dahua 大华", "sub-stream 子码流", "/cam/realmonitor?channel={channel}&subtype=1"),
    Template("Dahua 大华", "main stream 主码流", "/cam/realmonitor?channel={channel}&subtype=0"),
    Template("Uniview 宇视", "sub-stream 子码流", "/unicast/c{channel}/s1/live"),
    Template("Uniview 宇视", "main stream 主码流", "/unicast/c{channel}/s0/live"),
    Template("Uniview 宇视 camera", "sub-stream 子码流", "/media/video2"),
    Template("Uniview 宇视 camera", "main stream 主码流", "/media/video1"),
)


def question(message_id: str) -> bytes:
    """The Probe for network cameras. message_id: a UUID of its own."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
        ' xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
        f' xmlns:d="{_DISCOVERY}" xmlns:n="http://www.onvif.org/ver10/network/wsdl">'
        f"<e:Header><a:MessageID>urn:uuid:{message_id}</a:MessageID>"
        "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>"
        f"<a:Action>{_DISCOVERY}/Probe</a:Action></e:Header>"
        "<e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body>"
        "</e:Envelope>"
    ).encode()


def answers(datagram: bytes) -> Iterator[Found]:
    """Cameras in one answer; none if it is no ProbeMatches."""
    if len(datagram) > MOST_BYTES or b"<!" in datagram.replace(b"<!--", b""):
        return
    try:
        root = ElementTree.fromstring(datagram)  # noqa: S314  # no DOCTYPE, no entity: see above
    except (ElementTree.ParseError, LookupError, ValueError):
        return
    for match in root.iter(f"{{{_DISCOVERY}}}ProbeMatch"):
        addresses = tuple((match.findtext(f"{{{_DISCOVERY}}}XAddrs") or "").split())
        scopes = _SCOPE.findall(match.findtext(f"{{{_DISCOVERY}}}Scopes") or "")
        said = {key: _plain(unquote(value)) for key, value in reversed(scopes)}
        if addresses:
            yield Found(tuple(map(_plain, addresses)), **said)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
