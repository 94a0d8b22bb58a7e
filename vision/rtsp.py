"""Asks an RTSP camera what it has (DESCRIBE) and says exactly why it does not give it. Mostly pure.

Guarantees:

- A password is tried once for each `describe`; a camera that says that only its nonce was too old
  is answered once more, as RFC 7616, 3.3 asks. The request that learns what kind of login is wanted
  carries none, so it counts as no failed login.
- Nothing but DESCRIBE is ever sent; an answer is at most MOST_BYTES long; every wait is bounded.
- No text that leaves here holds a password.

Why not leave it to FFmpeg, which reads the pictures: OpenCV tells a refused login, a wrong path and
a camera that is off all in one way, and recorders lock everybody out after a few refused logins, so
what was refused must not be tried again every few seconds.

Sources: RTSP 1.0, RFC 2326; Digest RFC 7616 (MD5 as in RFC 2617, SHA-256); Basic RFC 7617;
SDP RFC 8866.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECT_S = 3.0
"""A camera that is there takes the connection at once; two repeated SYN fit in."""
MOST_BYTES = 64 * 1024
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_PORTS = {"rtsp": 554, "rtsps": 322}


class Outcome(enum.Enum):
    """What became of the question."""

    OK = "ok"
    LOGIN_WANTED = "login_wanted"
    LOGIN_REFUSED = "login_refused"
    NO_SUCH_PATH = "no_such_path"
    OTHER = "other"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Media:
    """One stream of a description. kind: video, audio, application; codec as in rtpmap: H264."""

    kind: str
    codec: str
    control: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """The answer. text: status and reason phrase, or why there was none. status: 0 without one."""

    outcome: Outcome
    text: str
    server: str = ""
    media: tuple[Media, ...] = ()
    status: int = 0


class RtspError(ValueError):
    """What came is no RTSP answer."""


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password; never shown."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One RTSP answer. headers: (name in small letters, value), in order."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: str = ""

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def first(self, name: str) -> str:
        """First value of a header, or nothing."""
        return next(iter(self.all(name)), "")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate header. scheme: basic or digest."""

    scheme: str
    realm: str = ""
    nonce: str = ""
    opaque: str | None = None
    algorithm: str = "MD5"
    auth: bool = False
    stale: bool = False


def parse_answer(head: str) -> Answer:
    """Read status line and headers, without the empty line at the end; RtspError if it is none."""
    lines = head.split("\r\n")
    match = re.fullmatch(r"RTSP/1\.\d (\d{3})(?: (.*))?", lines[0])
    if match is None:
        raise RtspError("what answers is no RTSP server")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return Answer(int(match[1]), (match[2] or "").strip(), tuple(headers))


def parse_challenge(value: str) -> Challenge | None:
    """Read one WWW-Authenticate header; None for a scheme or algorithm that is not spoken."""
    scheme, _, rest = value.strip().partition(" ")
    given = {m[1].lower(): m[2] if m[3] is None else m[3] for m in _PARAMETER.finditer(rest)}
    given = {key: re.sub(r"\\(.)", r"\1", text) for key, text in given.items()}
    if scheme.lower() == "basic":
        return Challenge("basic", given.get("realm", ""))
    algorithm = given.get("algorithm", "MD5").upper()
    offers = [one.strip().lower() for one in given.get("qop", "").split(",") if one.strip()]
    if scheme.lower() != "digest" or algorithm not in _HASHES or (offers and "auth" not in offers):
        return None
    stale = given.get("stale", "").lower() == "true"
    return Challenge(
        "digest", given.get("realm", ""), given.get("nonce", ""), given.get("opaque"), algorithm,
        bool(offers), stale,
    )  # fmt: skip


def best_challenge(answer: Answer) -> Challenge | None:
    """Strongest login that the camera offers: SHA-256, then MD5, then Basic."""
    offers = [parse_challenge(value) for value in answer.all("www-authenticate")]
    known = [one for one in offers if one is not None]
    return max(known, key=lambda one: (one.scheme == "digest", one.algorithm), default=None)


def authorization(challenge: Challenge, login: Login, method: str, url: str, cnonce: str) -> str:
    """Value of the Authorization header of one request; cnonce: a word of the client's own."""
    if challenge.scheme == "basic":
        both = f"{login.user}:{login.password}"
        return "Basic " + base64.b64encode(both.encode()).decode("ascii")

    def hashed(text: str) -> str:
        return hashlib.new(_HASHES[challenge.algorithm], text.encode()).hexdigest()

    secret = hashed(f"{login.user}:{challenge.realm}:{login.password}")
    what = hashed(f"{method}:{url}")
    middle = f":00000001:{cnonce}:auth:" if challenge.auth else ":"
    fields = {
        "username": login.user, "realm": challenge.realm, "nonce": challenge.nonce, "uri": url,
        "response": hashed(f"{secret}:{challenge.nonce}{middle}{what}"),
    }  # fmt: skip
    if challenge.opaque is not None:
        fields["opaque"] = challenge.opaque
    text = ", ".join(f'{name}="{_quoted(value)}"' for name, value in fields.items())
    if challenge.auth:
        text += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    return f"Digest {text}, algorithm={challenge.algorithm}"


def parse_media(sdp: str) -> Iterator[Media]:
    """Streams of a session description."""
    kind, codec, control = "", "", ""
    for line in sdp.splitlines():
        if line.startswith("m="):
            if kind:
                yield Media(kind, codec, control)
            kind, codec, control = line[2:].partition(" ")[0], _static_codec(line), ""
        elif line.startswith("a=rtpmap:") and kind:
            codec = line.partition(" ")[2].partition("/")[0]
        elif line.startswith("a=control:") and kind:
            control = line.removeprefix("a=control:")
    if kind:
        yield Media(kind, codec, control)


def describe(url: str, login: Login | None, *, cnonce: str, timeout_s: float) -> Description:
    """Ask a camera for its description. url without a login; cnonce: 16 random characters or more.

    timeout_s: for each answer; CONNECT_S at most to connect. Raises nothing for what a camera can
    do.
    """
    try:
        with _Line(url, timeout_s) as line:
            return _described(line, url, login, cnonce)
    except TimeoutError:
        return Description(Outcome.NO_ANSWER, f"no answer within {timeout_s:g} s")
    except RtspError as error:
        return Description(Outcome.OTHER, str(error))
    except OSError as error:
        return Description(Outcome.NO_ANSWER, error.strerror or str(error))


def _described(line: _Line, url: str, login: Login | None, cnonce: str) -> Description:
    answer = line.ask("")
    tried = False
    for _ in range(2):
        challenge = best_challenge(answer)
        too_old = challenge is not None and challenge.stale
        if answer.status != 401 or login is None or (tried and not too_old):
            break
        if challenge is None:
            return Description(Outcome.OTHER, "it asks for a kind of login that is not spoken here")
        answer = line.ask(authorization(challenge, login, "DESCRIBE", url, cnonce))
        tried = True
    text = f"{answer.status} {answer.reason}".strip()
    refused = Outcome.LOGIN_REFUSED if tried else Outcome.LOGIN_WANTED
    outcome = {200: Outcome.OK, 401: refused, 403: refused, 404: Outcome.NO_SUCH_PATH}.get(
        answer.status, Outcome.OTHER
    )
    media = tuple(parse_media(answer.body))
    return Description(outcome, text, answer.first("server"), media, answer.status)


class _Line:
    """One connection to a camera."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._url = url
        self._number = 0
        self._held = b""
        port = parts.port or _PORTS[parts.scheme]
        raw = socket.create_connection((parts.hostname or "", port), min(timeout_s, CONNECT_S))
        raw.settimeout(timeout_s)
        self._socket = raw
        if parts.scheme == "rtsps":
            # Cameras have certificates of their own making; FFmpeg, which reads the pictures, does
            # not judge them either.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            try:
                self._socket = context.wrap_socket(raw)
            except BaseException:
                raw.close()
                raise

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, login: str) -> Answer:
        """Send a DESCRIBE and read its answer."""
        self._number += 1
        request = (
            f"DESCRIBE {self._url} RTSP/1.0\r\nCSeq: {self._number}\r\nUser-Agent: plantgate\r\n"
        )
        request += "Accept: application/sdp\r\n"
        request += f"Authorization: {login}\r\n\r\n" if login else "\r\n"
        self._socket.sendall(request.encode())
        head = self._until(b"\r\n\r\n").decode("utf-8", "replace")
        answer = parse_answer(head)
        size = answer.first("content-length") or "0"
        if not size.isascii() or not size.isdigit() or int(size) > MOST_BYTES:
            raise RtspError("its answer has no sensible length")
        while len(self._held) < int(size):
            self._more()
        body, self._held = self._held[: int(size)], self._held[int(size) :]
        return Answer(answer.status, answer.reason, answer.headers, body.decode("utf-8", "replace"))

    def _until(self, end: bytes) -> bytes:
        while end not in self._held:
            if len(self._held) > MOST_BYTES:
                raise RtspError("what answers is no RTSP server")
            self._more()
        head, _, self._held = self._held.partition(end)
        return head

    def _more(self) -> None:
        chunk = self._socket.recv(4096)
        if not chunk:
            raise RtspError("it ended the connection without an answer")
        self._held += chunk


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _static_codec(line: str) -> str:
    # RTP/AVP payload types without rtpmap, RFC 3551, tables 4 and 5: 26 JPEG, 33 MPEG-2 transport.
    return {"26": "JPEG", "33": "MP2T"}.get(line.rsplit(" ", maxsplit=1)[-1], "")
