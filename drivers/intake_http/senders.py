"""Who hands in: bearer tokens by name, compared in constant time. Pure but `read_senders`.

Guarantees: the time of a comparison says nothing about the token nor how many there are right; only
hashes of tokens are held in memory; no token stands in an error.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

MIN_TOKEN = 16
"""Characters: 16 of base64 are 96 bits, beyond guessing at any rate limit."""
MAX_TOKEN = 512
MAX_BYTES = 1 << 20


class SendersError(ValueError):
    """The file of tokens is wrong; says which line, never the token."""


class Senders:
    """Names by the SHA-256 of their token."""

    def __init__(self, digests: Mapping[bytes, str]) -> None:
        self._digests = dict(digests)

    def who(self, token: str) -> str | None:
        """Name of the sender whose token this is; None if nobody's."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, name in self._digests.items():  # all of them, whichever fits
            if hmac.compare_digest(known, digest):
                found = name
        return found


def read_senders(path: Path) -> Senders:
    """Read a file of `name token` lines; raises SendersError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES)
        return parse_senders(raw.decode("utf-8-sig"))
    except OSError as error:
        raise SendersError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SendersError(f"{path} is not UTF-8 text") from None


def parse_senders(text: str) -> Senders:
    """Read the text of a file of tokens; raises SendersError."""
    digests: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise SendersError(f"line {number} is not `name token`")
        name, token = words
        if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not token.isascii():
            said = f"{MIN_TOKEN} to {MAX_TOKEN} ASCII characters"
            raise SendersError(f"line {number}: the token of {name} must have {said}")
        digest = hashlib.sha256(token.encode()).digest()
        if digest in digests:
            raise SendersError(f"line {number}: {name} has the token of {digests[digest]}")
        digests[digest] = name
    if not digests:
        raise SendersError("holds no token; write one `name token` a line")
    return Senders(digests)


def bearer(header: str | None) -> str | None:
    """Take the token out of an Authorization header (RFC 6750, section 2.1)."""
    scheme, _, token = (header or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN else None


__all__ = ["Senders", "SendersError", "bearer", "parse_senders", "read_senders"]
