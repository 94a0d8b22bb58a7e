"""Asks an HTTP source (MJPEG of a camera, HTTP-FLV of a GB/T 28181 platform) whether it delivers.

Guarantees: one GET, whose body is not read; a password is tried once for each `look`, and only on
an answer that asks for it; every wait is bounded; a redirection is not followed, because the login
would go along; no text that leaves here holds a password.

FFmpeg, which reads the pictures, tells a refused login and a wrong path in one way; see rtsp.py.

Sources: HTTP RFC 9110; logins as in rtsp.py; MJPEG is multipart/x-mixed-replace of JPEG pictures;
HTTP-FLV is an FLV file without an end (what platforms of GB/T 28181 offer beside RTSP).
"""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

from vision.rtsp import (
    CONNECT_S,
    Answer,
    Description,
    Login,
    Outcome,
    authorization,
    best_challenge,
    describe,
)


def ask(url: str, login: Login | None, *, cnonce: str, timeout_s: float) -> Description:
    """Ask any camera what it has: RTSP or HTTP, by its URL."""
    how = describe if url.startswith("rtsp") else look
    return how(url, login, cnonce=cnonce, timeout_s=timeout_s)


def look(url: str, login: Login | None, *, cnonce: str, timeout_s: float) -> Description:
    """Ask for a stream. url without a login; raises nothing for what a server can do."""
    try:
        answer = _asked(url, "", timeout_s)
        tried = False
        challenge = best_challenge(answer) if answer.status == 401 else None
        if challenge is not None and login is not None:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            said = authorization(challenge, login, "GET", target, cnonce)
            answer, tried = _asked(url, said, timeout_s), True
    except TimeoutError:
        return Description(Outcome.NO_ANSWER, f"no answer within {timeout_s:g} s")
    except http.client.HTTPException:
        return Description(Outcome.OTHER, "what answers is no HTTP server")
    except OSError as error:
        return Description(Outcome.NO_ANSWER, error.strerror or str(error))
    outcome, server = _outcome(answer, tried=tried), answer.first("server")
    return Description(outcome, _text(answer), server, status=answer.status)


def _asked(url: str, login: str, timeout_s: float) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    line: http.client.HTTPConnection
    if parts.scheme == "https":
        # Cameras have certificates of their own making; FFmpeg does not judge them either.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        line = http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    else:
        line = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": "plantgate", "Accept": "*/*"}
    if login:
        headers["Authorization"] = login
    try:
        line.timeout = min(timeout_s, CONNECT_S)
        line.connect()
        line.sock.settimeout(timeout_s)
        line.request("GET", target, headers=headers)
        answer = line.getresponse()
        kept = tuple((name.lower(), value) for name, value in answer.getheaders())
        return Answer(answer.status, answer.reason, kept)
    finally:
        line.close()


def _outcome(answer: Answer, *, tried: bool) -> Outcome:
    if answer.status in {401, 403}:
        return Outcome.LOGIN_REFUSED if tried else Outcome.LOGIN_WANTED
    kind = answer.first("content-type").lower()
    if answer.status == 200:
        return Outcome.OTHER if kind.startswith(("text/html", "application/json")) else Outcome.OK
    return Outcome.NO_SUCH_PATH if answer.status in {404, 410} else Outcome.OTHER


def _text(answer: Answer) -> str:
    status = f"{answer.status} {answer.reason}".strip()
    if 300 <= answer.status < 400:
        return f"{status}: it redirects to {_bare(answer.first('location'))}, give that address"
    kind = answer.first("content-type")
    if answer.status == 200 and kind.lower().startswith(("text/html", "application/json")):
        return f"{status}, but {kind} is a page and no video"
    return status


def _bare(location: str) -> str:
    """A location without login and query, which may hold a key."""
    parts = urlsplit(location)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
