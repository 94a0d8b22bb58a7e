"""Finds the line of every table and key in a TOML text that tomllib has already accepted.

Pure. `locate` maps a path such as ("device", 0, "host") to its 1-based line. Keys inside inline
tables and entries of lists have no line of their own; `line_of` gives that of the nearest parent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TomlPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")


def locate(text: str) -> dict[TomlPath, int]:
    """Map the path of every table and key to its line."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def line_of(lines: Mapping[TomlPath, int], path: TomlPath) -> int:
    """Line of a path or of its nearest parent that has one; 0 when none has."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 0


class _Scanner:
    """Walks statements; trusts the text to be valid and always moves forward."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[TomlPath, int] = {}
        self.counts: dict[TomlPath, int] = {}
        self.table: TomlPath = ()
        self._counted = 0
        self._line = 1

    def scan(self) -> dict[TomlPath, int]:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\n":
                self.at += 1
            elif char == "#":
                self._to_line_end()
            elif char == "[":
                self._header()
            else:
                self._statement()
        return self.lines

    def _header(self) -> None:
        line = self._line_here()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        names = self._key("]")
        *parents, last = names
        self.table = self._indexed((*self._parent(parents), last), new=many)
        for length in range(1, len(self.table) + 1):  # [a.b] makes a, [[a]] makes the list a
            self.lines.setdefault(self.table[:length], line)
        self._to_line_end()

    def _statement(self) -> None:
        line = self._line_here()
        names = self._key("=")
        for length in range(1, len(names) + 1):
            self.lines.setdefault((*self.table, *names[:length]), line)
        self._skip_value()

    def _parent(self, names: list[str]) -> TomlPath:
        path: TomlPath = ()
        for name in names:
            path = self._indexed((*path, name), new=False)
        return path

    def _indexed(self, path: TomlPath, *, new: bool) -> TomlPath:
        """Add the index of an array's current table; `new` opens the next one."""
        if new:
            self.counts[path] = self.counts.get(path, -1) + 1
        return (*path, self.counts[path]) if path in self.counts else path

    def _key(self, end: str) -> list[str]:
        names: list[str] = []
        while self.at < len(self.text) and self.text[self.at] != end:
            if (bare := _BARE.match(self.text, self.at)) is not None:
                names.append(bare.group())
                self.at = bare.end()
            elif (quoted := _STRING.match(self.text, self.at)) is not None:
                names.append(_unquoted(quoted.group()))
                self.at = quoted.end()
            else:
                self.at += 1
        self.at += 1
        return names or [""]

    def _skip_value(self) -> None:
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "\"'" and (string := _STRING.match(self.text, self.at)) is not None:
                self.at = string.end()
                continue
            if char == "#":
                self._to_line_end()
                continue
            if char == "\n" and depth <= 0:
                return
            depth += (char in "[{") - (char in "]}")
            self.at += 1

    def _to_line_end(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line


def _unquoted(token: str) -> str:
    if token.startswith("'"):
        return token[1:-1]
    short = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}

    def plain(match: re.Match[str]) -> str:
        four, eight, one = match.groups()
        code = four or eight
        return chr(int(code, 16)) if code else short.get(one, one)

    return _ESCAPE.sub(plain, token[1:-1])
