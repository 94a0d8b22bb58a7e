"""Who may do what at the console: one table for routes, pages and tests. Pure.

Guarantees: what is not in a table is nobody's. Each role may do what those before it may
(users.Role): a wall display sees state and alarms; a viewer 查看 sees everything; an operator 操作
acknowledges, shelves, handles and declares; an issuer 签发 enters and moves permits.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.users import Role

PAGES = ("/", "/wall", "/alarms", "/values", "/work", "/declarations", "/cameras", "/system",
         "/sign-in")  # fmt: skip
"""All answer the same shell, which holds nothing of the plant."""

PUBLIC = frozenset({("GET", page) for page in PAGES} | {
    ("GET", "/api/me"), ("POST", "/api/sign-in"), ("POST", "/api/wall"),
})  # fmt: skip
PUBLIC_FOLDER = "/static/"

READING: Mapping[str, Role] = {
    "/api/state": Role.WALL,
    "/api/live": Role.WALL,
    "/api/alarms": Role.VIEWER,
    "/api/alarms/detail": Role.VIEWER,
    "/api/calls": Role.VIEWER,
    "/api/values": Role.VIEWER,
    "/api/history": Role.VIEWER,
    "/api/permits": Role.VIEWER,
    "/api/handling": Role.VIEWER,
    "/api/declarations": Role.VIEWER,
    "/api/risk": Role.VIEWER,
    "/api/evidence/{sha256}": Role.VIEWER,
    "/api/cameras/picture": Role.VIEWER,
    "/api/openapi.json": Role.VIEWER,
}

COMMANDS: Mapping[str, Role] = {
    "alarm.command": Role.OPERATOR,
    "handling.act": Role.OPERATOR,
    "declare.begin": Role.OPERATOR,
    "declare.end": Role.OPERATOR,
    "permit.enter": Role.ISSUER,
    "permit.change": Role.ISSUER,
    "permit.gas": Role.ISSUER,
}
"""Commands of the control socket that can be given from the console."""


def may(role: Role, needed: Role) -> bool:
    """Tell whether a role is enough."""
    return role.rank >= needed.rank


def commands_of(role: Role) -> list[str]:
    """Commands that a role may give."""
    return [name for name, needed in COMMANDS.items() if may(role, needed)]
