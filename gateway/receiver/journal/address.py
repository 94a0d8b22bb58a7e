"""Which journal is meant by what a person wrote after `--journal`. Pure.

    nats://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/STREAM][?replicas=3&max_bytes=N&ca=FILE
        &certificate=FILE&key=FILE&credentials=FILE]

Every server is named, so that the loss of one does not keep a receiver from starting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.receiver.contract import StorePathError

STREAM = "PLANTGATE"
REPLICAS = 3
"""Where at least three servers are named: one may be lost with nothing acknowledged."""
_OPTIONS = frozenset({"replicas", "max_bytes", "ca", "certificate", "key", "credentials"})
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
EXAMPLE = "nats://HOST:4222,HOST:4222,HOST:4222/PLANTGATE"


@dataclass(frozen=True, slots=True)
class JournalAddress:
    """Servers (nats://HOST:PORT), stream, and how to speak to them; max_bytes 0: no limit."""

    servers: tuple[str, ...]
    stream: str
    replicas: int
    max_bytes: int = 0
    user: str = ""
    password: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    credentials: Path | None = None

    def subject(self, lane: str = "*") -> str:
        """Subject of the messages of one lane, or of all."""
        return f"plantgate.journal.{self.stream}.{lane}"


def parse_journal(text: str) -> JournalAddress:
    """Read an address; raises StorePathError with what would be right."""
    parts = urlsplit(text)
    if parts.scheme not in {"nats", "tls"} or not parts.netloc:
        raise StorePathError(f"journal {text!r} is no {EXAMPLE}")
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    servers = tuple(f"{parts.scheme}://{place}" for place in places.split(",") if place)
    stream = parts.path.strip("/") or STREAM
    if not set(stream) <= _NAME:
        raise StorePathError(f"journal stream {stream!r}: only letters, digits, - and _")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := sorted(set(options) - _OPTIONS):
        known = ", ".join(sorted(_OPTIONS))
        raise StorePathError(f"journal option {unknown[0]!r} is none of {known}")
    if ("certificate" in options) != ("key" in options):
        raise StorePathError("journal options certificate and key go together")
    return JournalAddress(
        servers,
        stream,
        _number(options, "replicas", REPLICAS if len(servers) >= REPLICAS else 1),
        _number(options, "max_bytes", 0),
        unquote(user),
        unquote(password),
        *(Path(options[name]) if name in options else None
          for name in ("ca", "certificate", "key", "credentials")),
    )  # fmt: skip


def _number(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal():
        raise StorePathError(f"journal option {name}={text} is no number")
    return int(text)
