"""The file of people: who is in it, what is not, and that nobody's change is lost."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.config import users
from gateway.config.users import NOBODY, People, Role, UsersError

PASSWORD = "correct horse battery"
ADD_WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from gateway.config import users
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
try:
    users.add_user(Path(sys.argv[1]), "second", users.Role.VIEWER, sys.argv[2], 2)
except users.UsersError as error:
    print(error)
"""


def test_a_person_is_added_and_only_the_right_password_fits(tmp_path: Path) -> None:
    users.add_user(tmp_path, "王芳", Role.OPERATOR, PASSWORD, 7)
    user = users.read(tmp_path).users["王芳"]
    assert (user.role, user.changed_ns) == (Role.OPERATOR, 7)
    assert users.fits(user.password, PASSWORD)
    assert not users.fits(user.password, PASSWORD + "!")
    assert not users.fits(NOBODY, "")
    path = users.path_of(tmp_path)
    assert PASSWORD not in path.read_text("utf-8")
    assert PASSWORD not in repr(user)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_root_makes_belongs_to_the_gateways_user(tmp_path: Path) -> None:
    """As deploy/README.md has it, people are added by root; the console runs as plantgate."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 4242, 4243)
    users.add_user(tmp_path, "王芳", Role.OPERATOR, PASSWORD, 7)
    made = [tmp_path / "console", *(tmp_path / "console").iterdir()]
    owner = tmp_path.stat()
    assert len(made) == 3
    assert {(one.stat().st_uid, one.stat().st_gid) for one in made} == {
        (owner.st_uid, owner.st_gid)
    }


def test_another_password_has_another_stamp_and_removal_removes(tmp_path: Path) -> None:
    users.add_user(tmp_path, "a", Role.VIEWER, PASSWORD, 1)
    users.set_password(tmp_path, "a", "another long one", 2)
    assert users.read(tmp_path).users["a"].changed_ns == 2
    users.remove_user(tmp_path, "a")
    assert users.read(tmp_path) == People()


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("", PASSWORD, "a name has"),
        ("a/b", PASSWORD, "a name has"),
        ("a ", PASSWORD, "a name has"),
        ("wang", "short", "10 to 256"),
        ("wang", "x" * 257, "10 to 256"),
        ("wang", "ababababab", "repeat few"),
        ("Wang", "my wang password", "hold the name"),
    ],
)
def test_what_is_no_name_or_easy_to_guess_is_refused(
    tmp_path: Path, name: str, password: str, said: str
) -> None:
    with pytest.raises(UsersError, match=said):
        users.add_user(tmp_path, name, Role.VIEWER, password, 0)
    assert not users.path_of(tmp_path).exists()


def test_who_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsersError, match="there is nobody"):
        users.remove_user(tmp_path, "a")
    users.add_user(tmp_path, "b", Role.VIEWER, PASSWORD, 0)
    with pytest.raises(UsersError, match="there is b"):
        users.set_password(tmp_path, "a", PASSWORD, 0)
    with pytest.raises(UsersError, match="is there already"):
        users.add_user(tmp_path, "b", Role.VIEWER, PASSWORD, 0)
    with pytest.raises(UsersError, match="no such folder"):
        users.add_user(tmp_path / "no", "b", Role.VIEWER, PASSWORD, 0)


def test_a_display_is_known_by_its_token_only(tmp_path: Path) -> None:
    token = users.add_wall(tmp_path, "control-room", 0)
    people = users.read(tmp_path)
    found = people.wall_of(token)
    assert found is not None
    assert found.name == "control-room"
    assert people.wall_of(token + "x") is None
    assert people.wall_of(found.digest) is None
    assert token not in users.path_of(tmp_path).read_text("utf-8")
    users.remove_wall(tmp_path, "control-room")
    assert users.read(tmp_path).wall_of(token) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version":2}', '{"version":1,"users":[{}],"walls":[]}']
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = users.path_of(tmp_path)
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsersError, match="is no file of users"):
        users.read(tmp_path)


def test_commands_at_the_same_time_lose_nobody(tmp_path: Path) -> None:
    def add(number: int) -> None:
        users.add_user(tmp_path, f"u{number}", Role.VIEWER, PASSWORD, number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(users.read(tmp_path).users) == [f"u{number}" for number in range(6)]
    held = json.loads(users.path_of(tmp_path).read_text("utf-8"))
    assert len(held["users"]) == 6


def test_a_disk_that_takes_a_part_of_the_file_costs_nobody_who_was_there(tmp_path: Path) -> None:
    """@example: the part that was written took the place of the whole file, and nobody got in."""
    users.add_user(tmp_path, "first", Role.VIEWER, PASSWORD, 1)
    before = users.path_of(tmp_path).read_bytes()
    assert 150 < len(before) < 300
    call = [sys.executable, "-c", ADD_WITH_LITTLE_ROOM, str(tmp_path), PASSWORD]
    said = subprocess.run(call, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "users.json cannot be written: File too large" in said
    assert users.path_of(tmp_path).read_bytes() == before


def test_roles_are_in_order() -> None:
    assert [role.rank for role in Role] == [0, 1, 2, 3]
    assert [role.zh for role in Role] == ["大屏", "查看", "操作", "签发"]
