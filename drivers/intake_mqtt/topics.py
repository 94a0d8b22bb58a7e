"""Topic filters 主题: which table a message belongs to. Pure.

Guarantees: a topic belongs to the first filter of the site file that matches it; filters follow
MQTT 3.1.1, section 4.7 (`+` one level, `#` the rest, neither matches a first level with `$`).
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_BYTES = 65_535
"""Of a topic on the wire (MQTT 3.1.1, section 1.5.3)."""


class TopicTables:
    """Tables by topic filter, in the order of the site file."""

    def __init__(self, topics: Mapping[str, str]) -> None:
        self._topics = [(topic.split("/"), table) for topic, table in topics.items()]

    def table(self, topic: str) -> str | None:
        """Name of the table of a topic; None if no filter matches."""
        levels = topic.split("/")
        return next((table for wanted, table in self._topics if _matches(wanted, levels)), None)


def check_filter(topic: str) -> str:
    """Say what is wrong with a filter; empty if nothing is."""
    levels = topic.split("/")
    if not topic or "\0" in topic or len(topic.encode("utf-8", "replace")) > MAX_BYTES:
        return "is no topic filter"
    if levels[0] == "$share":
        return "is a shared subscription, which keeps no session for us: name the topic itself"
    if "#" in "/".join(levels[:-1]) or any(
        len(level) > 1 and ("#" in level or "+" in level) for level in levels
    ):
        return "has # or + inside a level: # stands last, + alone, such as site/+/permit or site/#"
    return ""


def _matches(wanted: list[str], levels: list[str]) -> bool:
    if levels[0].startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or level not in {"+", levels[number]}:
            return False
    return len(wanted) == len(levels)


__all__ = ["TopicTables", "check_filter"]
