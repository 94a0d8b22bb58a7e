"""Which cameras try one and the same login, and whether it may be tried now. Pure.

Recorders lock everybody out after a handful of refused logins, whichever of their channels was
asked for, so the cameras of one recorder count as one who tries.

Guarantees:

- One login is one host, port, user and password, however the address is written; two names of one
  host are two.
- A login that was refused is held back for LOCKOUT_NS, from every camera. One that was taken before
  is tried TRIES times in all, AGAIN_NS apart: an answer that a bad line garbled, or a recorder that
  has just been switched on, refuses what is right.
- A login that was taken less than FRESH_NS ago needs no turn, and who is refused then is refused
  alone: the password is right, and the stream is not for this user.
- What the wall clock cannot have seen (a refusal in the future, or LOCKOUT_NS old) holds nobody
  back. Bytes that are no note count as an empty one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from vision.strict import StrictModel

LOCKOUT_NS = 1_800_000_000_000
"""30 min: as long as recorders commonly lock an address out (their settings differ; not tested)."""
TRIES, AGAIN_NS = 3, 5_000_000_000
"""Recorders commonly allow 5 or more."""
FRESH_NS = 30_000_000_000
"""Cameras that start together come within this; so short because a password may be changed."""
NOTE_BYTES = 2048
"""Of every note, so that one write replaces all of it; 264 letters of 4 bytes and the rest fit."""
_MOST_ANSWER = 200
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """Where who logs in."""

    host: str
    port: int
    user: str


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of one login. Times are of the wall clock, ns since 1970; 0: never.

    refusals: in a row, the last at refused_ns with the words `answer`.  camera: the first that was
    refused since the login was taken, so that the others say one thing for as long as it lasts.
    """

    refusals: int = 0
    refused_ns: int = 0
    camera: str = ""
    answer: str = ""
    taken_ns: int = 0


class Step(Enum):
    """What a camera may do with a login."""

    GO = "go"
    TURN = "turn"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Decision:
    """GO: at once. TURN: when no other camera tries it. HOLD: not for another left_ns."""

    step: Step
    left_ns: int = 0


def place_of(source: str, user: str) -> Place:
    """Where a camera's login is tried. source: a URL; ValueError if it has no such port."""
    parts = urlsplit(source)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return Place((parts.hostname or "").rstrip("."), port, user)


def decide(note: Note, now_ns: int, *, known: bool = False) -> Decision:
    """Say what a camera may do. known: it was let in with this login itself, since it started."""
    age_ns = now_ns - note.refused_ns
    if note.refusals > 0 and 0 <= age_ns < LOCKOUT_NS:
        again = note.refusals < TRIES and (known or note.taken_ns > 0)
        left_ns = (AGAIN_NS if again else LOCKOUT_NS) - age_ns
        return Decision(Step.HOLD, left_ns) if left_ns > 0 else Decision(Step.TURN)
    return Decision(Step.GO if _is_fresh(note, now_ns) else Step.TURN)


def after_refusal(note: Note, now_ns: int, camera: str, answer: str) -> Note:
    """What is known once a camera was refused."""
    if note.refusals == 0 and _is_fresh(note, now_ns):
        return note
    counts = 0 <= now_ns - note.refused_ns < LOCKOUT_NS
    refusals = note.refusals + 1 if counts else 1
    kept = "".join(letter for letter in answer if letter.isprintable())[:_MOST_ANSWER]
    return Note(refusals, now_ns, note.camera or camera, kept, note.taken_ns)


def after_taking(now_ns: int) -> Note:
    """What is known once a camera was let in."""
    return Note(taken_ns=now_ns)


def is_over(note: Note, now_ns: int) -> bool:
    """Tell whether a login that nobody uses any more may be forgotten."""
    return not any(0 <= now_ns - at_ns < LOCKOUT_NS for at_ns in (note.refused_ns, note.taken_ns))


def encoded(note: Note) -> bytes:
    """NOTE_BYTES of a note."""
    return json.dumps(asdict(note), ensure_ascii=False).encode().ljust(NOTE_BYTES)


def decoded(content: bytes) -> Note:
    """Read a note; an empty one if it is none."""
    try:
        form = _Form.model_validate_json(content)
    except ValidationError:
        return Note()
    if not (form.camera + form.answer).isprintable():
        return Note()
    return Note(form.refusals, form.refused_ns, form.camera, form.answer, form.taken_ns)


class _Form(StrictModel):
    """What a note may be on the disk. The times fit 64 bits."""

    refusals: int = Field(ge=0, le=1_000_000)
    refused_ns: int = Field(ge=0, lt=1 << 63)
    camera: str = Field(max_length=64)
    answer: str = Field(max_length=_MOST_ANSWER)
    taken_ns: int = Field(ge=0, lt=1 << 63)


def _is_fresh(note: Note, now_ns: int) -> bool:
    return note.taken_ns > 0 and 0 <= now_ns - note.taken_ns < FRESH_NS


__all__ = [
    "AGAIN_NS",
    "FRESH_NS",
    "LOCKOUT_NS",
    "NOTE_BYTES",
    "TRIES",
    "Decision",
    "Note",
    "Place",
    "Step",
    "after_refusal",
    "after_taking",
    "decide",
    "decoded",
    "encoded",
    "is_over",
    "place_of",
]
