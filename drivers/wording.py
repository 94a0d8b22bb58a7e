"""Says a pydantic validation error as one plain sentence for an integrator.

Guarantees: one line, no pydantic vocabulary, what is wrong and what would be right, the offending
value shortened to 60 characters. Keys that nobody knows get the nearest known one.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterable, Mapping

from pydantic_core import ErrorDetails

SHOWN_CHARACTERS = 60
"""Longest value shown in a message; more would push the advice off a terminal's line."""

_EMPTY_MARKS = frozenset(
    {"-", "--", "—", "/", "\\", "n/a", "na", "nan", "none", "null", "无", "空"}
)
"""What people write into a spreadsheet cell that has no value."""

_NUMBER = "must be a number, not {value}"
_WHOLE = "must be a whole number, not {value}"
_TEXT = "must be text in quotes, not {value}"
_TABLE = "must be a table of keys, not {value}"
_LIST = "must be a list in square brackets, not {value}"

_SENTENCES: Mapping[str, str] = {
    "missing": "is missing; this key is required",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "is too large a number: {value}",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number, not {value}",
    "bool_type": "must be true or false, not {value}",
    "bool_parsing": "must be true or false, not {value}",
    "string_type": _TEXT,
    "path_type": _TEXT,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "dict_type": _TABLE,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "greater_than": "must be greater than {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than": "must be less than {lt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "multiple_of": "must be a multiple of {multiple_of}, not {value}",
    "literal_error": "must be {expected}, not {value}",
    "enum": "must be {expected}, not {value}",
    "string_pattern_mismatch": "has an unexpected form: {value} (pattern {pattern})",
    "string_too_short": "must have at least {min_length} characters, not {value}",
    "string_too_long": "must have at most {max_length} characters, not {value}",
    "too_short": "needs at least {min_length} entries, not {actual_length}",
    "too_long": "may have at most {max_length} entries, not {actual_length}",
}


def shown(value: object) -> str:
    """Write a value as a site file would, on one line of at most 60 characters."""
    if isinstance(value, str):
        text = f"'{value}'" if value.isprintable() else repr(value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, else list the known ones (at most 30)."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    more = ", …" if len(names) > 30 else ""
    return f"known are: {', '.join(names[:30])}{more}" if names else "nothing is expected here"


def unknown_point(point: str, names: Iterable[str]) -> str:
    """Say that no catalogue names a point, and which one was probably meant; empty if one does."""
    known = set(names)
    if point in known:
        return ""
    near = difflib.get_close_matches(point, known, n=1, cutoff=0.6)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"no catalogue here names a point {point!r}{meant}"


def sentence(error: ErrorDetails, known: Iterable[str] = ()) -> str:
    """Turn one pydantic error into a sentence without the key's name.

    known: the keys that would have been right, for an unknown key.
    """
    kind, value = error["type"], error["input"]
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(str(error['loc'][-1]), known)}"
    if kind in {"value_error", "assertion_error"}:
        return str(context.get("error", error["msg"]))
    if kind in {"float_parsing", "int_parsing"} and str(value).strip().lower() in _EMPTY_MARKS:
        return f"must be a number; where there is none leave the cell empty, not {shown(value)}"
    if kind in {"float_parsing", "int_parsing"} and (narrow := _narrow(value)):
        return f"is in full-width characters 全角: write {narrow}, not {shown(value)}"
    template = _SENTENCES.get(kind)
    if template is None:
        message = error["msg"].splitlines()[0]
        return f"{message[:1].lower()}{message[1:]}, not {shown(value)}"
    said = {**context, "value": shown(value)}
    if "expected" in said:
        said["expected"] = str(said["expected"]).removeprefix("'', ")  # empty means not given
    return template.format_map(said)


def _narrow(value: object) -> str:
    """A number in full-width digits as it should be written; empty where it is not one."""
    narrow = unicodedata.normalize("NFKC", value) if isinstance(value, str) else ""
    try:
        float(narrow)
    except ValueError:
        return ""
    return narrow if narrow != value else ""
