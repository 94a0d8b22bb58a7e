"""`plantgate console`: who may use the web console, wall displays, and its fingerprint.

Works on the data directory, whether or not the gateway runs; a running console knows within a
second. Exit 0; 2 for a mistake in what was given.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.running import DATA_DIR, plant_time
from gateway.config import users
from gateway.config.users import Role, UsersError
from gateway.runtime.clock import SystemClock

ROLES = {role.value: role for role in Role if role is not Role.WALL}
GENERATED_BYTES = 9  # 12 characters, 72 bits
T = TypeVar("T")
_STDIN = click.option("--stdin", "from_stdin", is_flag=True, help="Read it from standard input.")
_GENERATE = click.option("--generate", is_flag=True, help="Make one and print it.")
_ROLE_HELP = "viewer 查看, operator 操作 (acknowledge, declare), issuer 签发 (permits, too)."


@click.group(
    "console",
    cls=Group,
    epilog="\b\nExample:\n  plantgate console user add data 王芳 --role operator",
)
def command() -> None:
    """See and change who may use the web console 网页控制台."""


@command.group("user", epilog="\b\nExample:\n  plantgate console user list data")
def user() -> None:
    """People with a password and a role."""


@user.command("add", epilog="\b\nExample:\n  plantgate console user add data 王芳 --role issuer")
@DATA_DIR
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(list(ROLES)), help=_ROLE_HELP)
@_GENERATE
@_STDIN
def add(data_dir: Path, name: str, *, role: str, generate: bool, from_stdin: bool) -> None:
    """Add a person to the console of the gateway whose data_dir is DATA_DIR."""
    password = _password(generate=generate, from_stdin=from_stdin)
    _done(lambda: users.add_user(data_dir, name, ROLES[role], password, _now_ns()))
    print(f"{name}: {role} {ROLES[role].zh}" + (f", password {password}" if generate else ""))


@user.command("password", epilog="\b\nExample:\n  plantgate console user password data 王芳")
@DATA_DIR
@click.argument("name")
@_GENERATE
@_STDIN
def password_(data_dir: Path, name: str, *, generate: bool, from_stdin: bool) -> None:
    """Give a person another password; their sessions end."""
    password = _password(generate=generate, from_stdin=from_stdin)
    _done(lambda: users.set_password(data_dir, name, password, _now_ns()))
    print(f"{name}: " + (f"password {password}" if generate else "password changed"))


@user.command("remove", epilog="\b\nExample:\n  plantgate console user remove data 王芳")
@DATA_DIR
@click.argument("name")
def remove(data_dir: Path, name: str) -> None:
    """Remove a person; their sessions end."""
    _done(lambda: users.remove_user(data_dir, name))
    print(f"{name} is removed")


@user.command("list", epilog="\b\nExample:\n  plantgate console user list data --json")
@DATA_DIR
@AS_JSON
def listed(data_dir: Path, *, as_json: bool) -> None:
    """List people; of passwords only when they were set."""
    people = _done(lambda: users.read(data_dir)).users.values()
    if as_json:
        rows = [
            {"name": one.name, "role": one.role.value, "password_set": plant_time(one.changed_ns)}
            for one in people
        ]
        print_json({"users": rows})
        return
    for one in people:
        print(
            f"{one.name}: {one.role.value} {one.role.zh}, password of {plant_time(one.changed_ns)}"
        )
    print(counted(len(people), "user"))


@command.group("wall", epilog="\b\nExample:\n  plantgate console wall add data control-room")
def wall() -> None:
    """Wall displays 大屏: they see state and alarms, without anybody signed in."""


@wall.command("add", epilog="\b\nExample:\n  plantgate console wall add data control-room")
@DATA_DIR
@click.argument("name")
def wall_add(data_dir: Path, name: str) -> None:
    """Add a display and print its token, once."""
    token = _done(lambda: users.add_wall(data_dir, name, _now_ns()))
    print("open this once in the display's browser, after the console's address:")
    print(f"/wall#token={token}")


@wall.command("remove", epilog="\b\nExample:\n  plantgate console wall remove data control-room")
@DATA_DIR
@click.argument("name")
def wall_remove(data_dir: Path, name: str) -> None:
    """Remove a display: its token is worth nothing any more."""
    _done(lambda: users.remove_wall(data_dir, name))
    print(f"{name} is removed")


@wall.command("list", epilog="\b\nExample:\n  plantgate console wall list data --json")
@DATA_DIR
@AS_JSON
def wall_listed(data_dir: Path, *, as_json: bool) -> None:
    """List displays."""
    walls = _done(lambda: users.read(data_dir)).walls.values()
    if as_json:
        rows = [{"name": one.name, "added": plant_time(one.made_ns)} for one in walls]
        print_json({"walls": rows})
        return
    for one in walls:
        print(f"{one.name}: added {plant_time(one.made_ns)}")
    print(f"{len(walls)} displays")


@command.command("fingerprint", epilog="\b\nExample:\n  plantgate console fingerprint data")
@DATA_DIR
def fingerprint(data_dir: Path) -> None:
    """Print the SHA-256 of the certificate that the console made for itself."""
    from gateway.config.console import ConsoleConfig
    from gateway.console.certificate import CertificateError, files_of, fingerprint_of

    try:
        print(fingerprint_of(files_of(ConsoleConfig(), data_dir)[0]))
    except CertificateError as error:
        _fail(f"{error}: it is made at the console's first start")


def _password(*, generate: bool, from_stdin: bool) -> str:
    if generate and from_stdin:
        _fail("--generate and --stdin exclude each other")
    if generate:
        return secrets.token_urlsafe(GENERATED_BYTES)
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given: str = click.prompt(
        f"Password ({users.MIN_PASSWORD} characters or more)", hide_input=True,
        confirmation_prompt=True,
    )  # fmt: skip
    return given


def _done(act: Callable[[], T]) -> T:
    try:
        return act()
    except UsersError as error:
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    print(f"plantgate console: {text}", file=sys.stderr)
    sys.exit(2)


def _now_ns() -> int:
    return SystemClock().wall_ns()
