"""Says what is probably wrong with a line that is no TOML, in words of somebody who never saw TOML.

Pure. A guess is made from the line alone, most certain first; where none is certain there is none,
and the parser's own words stand. Nothing is corrected: a site file is changed by people only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_BARE_VALUE = re.compile(r"^\s*([A-Za-z0-9_.-]+)\s*=\s*([^\"'\[\]{}#]+?)\s*$")
_BAD_ESCAPE = re.compile(r"\\[^btnfr\"\\uU]|\\u(?![0-9A-Fa-f]{4})|\\U(?![0-9A-Fa-f]{8})")
_COLON = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*:\s*(.+?)\s*$")
_WORDS = {"true": "true", "yes": "true", "on": "true", "是": "true",
          "false": "false", "no": "false", "off": "false", "否": "false",
          "none": "", "null": ""}  # fmt: skip
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_WITH_UNIT = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*(?:[A-Za-z]{1,4}|%|℃|°C)")
_QUOTES = {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "「": '"', "」": '"', "【": "[",
           "】": "]", "、": ",", "。": ".", "—": "-", "–": "-"}  # fmt: skip
"""What input methods write, and what a site file needs there; full-width forms beside these."""


def advice(line: str) -> str:
    """Say what is wrong with one line and what would be right; empty where that is not clear."""
    return next(_guesses(line), "")


def foreign_signs(line: str) -> str:
    """Say which full-width signs stand outside texts and comments of a line, or nothing."""
    bare = _TEXT.sub('""', line)
    bare = bare.partition("#")[0]
    found = dict.fromkeys((sign, plain) for sign in bare if (plain := _plain(sign)))
    if not found:
        return ""
    blanks = [sign for sign, plain in found if plain == " "]
    signs = [(sign, plain) for sign, plain in found if plain != " "]
    said = []
    if signs:
        theirs, ours = (" ".join(dict.fromkeys(column)) for column in zip(*signs, strict=True))
        said.append(f"holds {theirs} of a Chinese input method 全角符号: type {ours} instead")
    if blanks:
        codes = ", ".join(f"U+{ord(sign):04X}" for sign in blanks)
        said.append(f"holds a blank that is none ({codes} 全角空格): type a plain one")
    return "; ".join(said)


def _guesses(line: str) -> Iterator[str]:
    if signs := foreign_signs(line):
        yield signs
    bare = _TEXT.sub('""', line)
    before = bare.partition("#")[0].rstrip()
    if re.search(r"\s//", before):
        yield "a comment begins with #, not with //"
    if any(_BAD_ESCAPE.search(text) for text in _TEXT.findall(line) if text[0] == '"'):
        yield r"a backslash in double quotes is special: write / in paths, or put '...' around it"
    if re.match(r"\s*\[\[[^\]]*\]?$", before):
        yield f"write {_closed(before, ']]')}"
    if re.match(r"\s*\[[^\[\]=]*$", before):
        yield f"write {_closed(before, ']')}"
    if (match := _COLON.match(before)) and "=" not in before:
        yield f"write {match[1]} = {_value(line, ':')}, with = and not with a colon"
    if before.endswith((",", ";")) and "=" in before and before.count("[") <= before.count("]"):
        yield f"a line does not end with {before[-1]!r}: take it away"
    if match := _BARE_VALUE.match(before):
        yield from _of_bare(match[1], match[2])
    if (key := before.partition("=")[0].strip()) and not key.isascii() and "=" in before:
        yield f"names of keys are English, {key} is none: Chinese stands in quotes only"


def _of_bare(key: str, value: str) -> Iterator[str]:
    """Guess at a value without quotes."""
    word = _WORDS.get(value.lower())
    if word == "":
        yield f"there is no {value} in TOML: leave the line out where there is no value"
    elif word is not None and value != word:
        yield f"write {key} = {word}"
    elif _NUMBER.fullmatch(value):
        if zeros := re.match(r"([+-]?)0+(?=[0-9])", value):
            right = zeros[1] + value[zeros.end() :]
            yield f"a number has no leading zero: write {key} = {right}"
    elif match := _WITH_UNIT.fullmatch(value):
        yield f"a number stands without its unit: {key} = {match[1]}"
    elif word is None:
        yield f'texts go in quotes: {key} = "{value}"'


def _plain(sign: str) -> str:
    """What a site file needs in place of a sign; empty for a sign that may be there."""
    if sign in _QUOTES:
        return _QUOTES[sign]
    if sign in "\t\n\r" or sign.isascii():
        return ""
    if unicodedata.category(sign) in {"Zs", "Cf"}:
        return " "
    narrow = unicodedata.normalize("NFKC", sign)
    return narrow if narrow.isascii() and narrow != sign else ""


def _closed(heading: str, end: str) -> str:
    return f"{heading.strip().rstrip(']')}{end}"


def _value(line: str, separator: str) -> str:
    return line.partition("#")[0].partition(separator)[2].strip()


__all__ = ["advice", "foreign_signs"]
