"""The real console over TLS on loopback: who may do what, what is refused, what people are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gateway.config import users
from gateway.config.users import Role
from gateway.console.guard import MOST_BODY_BYTES, SECURITY
from gateway.console.rights import COMMANDS, PAGES, READING, may
from tests.fakes.control_gateway import row
from tests.gateway.console.rig import PASSWORD, PEOPLE, Browser, Rig, console, until

SHA = "ab" * 32
CONTENT: Mapping[str, Mapping[str, Any]] = {
    "alarm.command": {"verb": "ack", "source": "gds/a"},
    "handling.act": {"alarm": "00", "action": "confirm"},
    "declare.begin": {"kind": "span_gas", "scope": "point", "name": "gds/a", "minutes": 5,
                      "reason": "r"},
    "declare.end": {"id": "5d41"},
    "permit.enter": {"permit": {"ticket_no": "T1"}},
    "permit.change": {"ticket": "T1", "verb": "start"},
    "permit.gas": {"analysis": {"permit": "T1"}},
}  # fmt: skip
PATHS = {
    "/api/history": "/api/history?point=gds/a&from_ns=0&to_ns=1",
    "/api/alarms/detail": "/api/alarms/detail?key=gds/a|high",
    "/api/evidence/{sha256}": f"/api/evidence/{SHA}",
    "/api/cameras/picture": "/api/cameras/picture?camera=yard",
}
LIVE = "/api/live"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with console(tmp_path_factory.mktemp("console")) as running:
        running.wait_watching()
        evidence = running.data / "evidence" / SHA[:2]
        evidence.mkdir(parents=True)
        (evidence / SHA[2:]).write_bytes(b"\xff\xd8 picture")
        running.gateway.answers |= {
            "evidence": {"path": str(evidence / SHA[2:]), "media_type": "image/jpeg"},
            "camera.look": {"jpeg": "/9g=", "time_ns": 7},
        }
        yield running


@pytest.fixture(scope="module")
def browsers(rig: Rig) -> dict[str, Browser]:
    """One of each role, and one of nobody."""
    found = {name: Browser(rig) for name in ("", "wall", *PEOPLE)}
    for name in PEOPLE:
        assert found[name].sign_in(name).status == 200
    assert found["wall"].post("/api/wall", {"token": rig.wall_token}).status == 200
    return found


def test_every_role_at_every_route(browsers: dict[str, Browser]) -> None:
    roles: dict[str, Role | None] = {"": None, "wall": Role.WALL, **PEOPLE}
    routes = [("GET", path, role) for path, role in READING.items() if path != LIVE]
    routes += [("POST", f"/api/commands/{ask}", role) for ask, role in COMMANDS.items()]
    wrong = []
    for name, has in roles.items():
        for method, path, needed in routes:
            content = CONTENT[path.rpartition("/")[2]] if method == "POST" else None
            status = browsers[name].ask(method, PATHS.get(path, path), content).status
            wanted = 401 if has is None else 200 if may(has, needed) else 403
            if status != wanted:
                wrong.append(f"{name or 'nobody'} {method} {path}: {status}, not {wanted}")
    assert wrong == []
    for name, has in roles.items():
        if has is None:
            assert browsers[name].get(LIVE).status == 401
            continue
        with browsers[name].live() as stream:
            assert stream.next()[0] == "state"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/no"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/redoc"),
     ("GET", "/api"), ("GET", "/static"), ("POST", "/"), ("POST", "/api/state"),
     ("POST", "/api/commands/write"), ("POST", "/api/sign-out"), ("GET", "//api/state"),
     ("GET", "/api/state/"), ("GET", "/static/../api/state"), ("GET", "/API/state"),
     ("GET", "/api/%73tate")],
)  # fmt: skip
def test_nobody_reaches_anything_that_is_not_public(rig: Rig, method: str, path: str) -> None:
    reply = Browser(rig).ask(method, path)
    assert reply.status in {401, 404}
    if path != "/static/../api/state":
        assert reply.status == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_refused(browsers: dict[str, Browser], method: str) -> None:
    assert browsers["issuer"].ask(method, "/api/state").status == 405


def test_every_answer_binds_the_browser(rig: Rig, browsers: dict[str, Browser]) -> None:
    for browser, path in ((Browser(rig), "/api/me"), (Browser(rig), "/api/state"),
                          (browsers["viewer"], "/api/alarms"), (browsers["viewer"], "/api/no"),
                          *((Browser(rig), page) for page in PAGES)):  # fmt: skip
        reply = browser.get(path)
        assert reply.status in {200, 401, 404}
        for name, value in SECURITY.items():
            assert reply.headers[name.lower()] == value, path
        assert "server" not in reply.headers
    assert browsers["viewer"].get("/api/alarms").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Requested-With": None},
        {"X-Requested-With": "XMLHttpRequest"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_can_neither_command_nor_sign_in(
    rig: Rig, browsers: dict[str, Browser], headers: dict[str, Any]
) -> None:
    asked = len(rig.gateway.asked)
    for path, content in (("/api/commands/alarm.command", CONTENT["alarm.command"]),
                          ("/api/sign-in", {"user": "viewer", "password": PASSWORD}),
                          ("/api/sign-out", {})):  # fmt: skip
        reply = browsers["issuer"].ask("POST", path, content, headers)
        assert reply.status == 403
    assert len(rig.gateway.asked) == asked
    assert browsers["issuer"].get("/api/me").json["role"] == "issuer"


def test_our_own_pages_can(rig: Rig, browsers: dict[str, Browser]) -> None:
    host, port = rig.address
    headers = {"Origin": f"https://{host}:{port}", "Sec-Fetch-Site": "same-origin"}
    reply = browsers["operator"].ask(
        "POST", "/api/commands/alarm.command", CONTENT["alarm.command"], headers
    )
    assert reply.status == 200


@pytest.mark.parametrize("ask", COMMANDS)
def test_a_command_is_given_in_the_name_of_who_is_signed_in(
    rig: Rig, browsers: dict[str, Browser], ask: str
) -> None:
    assert browsers["issuer"].post(f"/api/commands/{ask}", CONTENT[ask]).status == 200
    request = rig.gateway.asked[-1]
    assert request["ask"] == ask
    assert request["operator"] == request["person"] == request["by"] == "issuer"
    assert CONTENT[ask].items() <= request.items()
    for field in ("operator", "person", "by", "ask"):
        forged = {**CONTENT[ask], field: "王芳"}
        assert browsers["issuer"].post(f"/api/commands/{ask}", forged).status == 422
    assert rig.gateway.asked[-1] is request


def test_a_refusal_is_the_gateways_sentence(rig: Rig, browsers: dict[str, Browser]) -> None:
    said = "gds/a has several alarms: name one of high, low"

    def refuse(_request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError(said)

    rig.gateway.answers["alarm.command"] = refuse
    try:
        reply = browsers["operator"].post("/api/commands/alarm.command", CONTENT["alarm.command"])
    finally:
        del rig.gateway.answers["alarm.command"]
    assert (reply.status, reply.json) == (409, {"error": said})


def test_what_is_wrong_is_one_sentence(browsers: dict[str, Browser]) -> None:
    browser = browsers["issuer"]
    reply = browser.post("/api/commands/alarm.command", {"verb": "write", "source": "a"})
    assert reply.status == 422
    assert reply.json["error"].startswith("verb: ")
    assert browser.get("/api/values?page=-1").json["error"].startswith("page: ")
    assert browser.get("/api/evidence/../users.json").status == 404
    assert browser.get("/api/evidence/ABC").status == 422
    # Announced only: what is sent on after the refusal may meet a closed connection first.
    large = {"Content-Length": str(MOST_BODY_BYTES + 1)}
    assert browser.ask("POST", "/api/commands/permit.enter", None, large).status == 413
    broken = browser.ask("POST", "/api/commands/permit.enter", None, {"Content-Length": "0"})
    assert broken.status == 422


def test_a_body_of_unknown_length_is_counted(rig: Rig, browsers: dict[str, Browser]) -> None:
    connection = browsers["issuer"].connect()
    headers = browsers["issuer"]._headers("POST", {})
    pieces = (b"x" * 8192 for _ in range(MOST_BODY_BYTES // 8192 + 1))
    connection.request("POST", "/api/commands/permit.enter", pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_evidence_comes_whole_and_in_ranges(browsers: dict[str, Browser]) -> None:
    reply = browsers["viewer"].get(f"/api/evidence/{SHA}")
    assert (reply.status, reply.content) == (200, b"\xff\xd8 picture")
    assert reply.headers["content-type"] == "image/jpeg"
    assert "sandbox" in reply.headers["content-security-policy"]
    part = browsers["viewer"].ask("GET", f"/api/evidence/{SHA}", None, {"Range": "bytes=3-"})
    assert (part.status, part.content) == (206, b"picture")


@pytest.mark.parametrize("where", ["console/users.json", "evidence/link", "evidence", "no"])
def test_no_file_but_evidence_is_given(rig: Rig, browsers: dict[str, Browser], where: str) -> None:
    link = rig.data / "evidence" / "link"
    if not link.is_symlink():
        link.symlink_to(rig.data / "console" / "users.json")
    before = rig.gateway.answers["evidence"]
    rig.gateway.answers["evidence"] = {"path": str(rig.data / where), "media_type": "text/html"}
    try:
        assert browsers["viewer"].get(f"/api/evidence/{SHA}").status == 404
    finally:
        rig.gateway.answers["evidence"] = before


# -- signing in --------------------------------------------------------------------------------


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(rig: Rig) -> None:
    reply = Browser(rig).sign_in("viewer")
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("__Host-plantgate=")
    for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert word in cookie


def test_who_is_signed_out_or_has_another_password_is_nobody(rig: Rig) -> None:
    users.add_user(rig.data, "leaver", Role.VIEWER, PASSWORD, 1)
    first, second = Browser(rig), Browser(rig)
    until(lambda: first.sign_in("leaver").status == 200, "the console knows the new user")
    assert second.sign_in("leaver").status == 200
    kept = dict(first.cookies)
    assert first.post("/api/sign-out", {}).status == 200
    first.cookies = kept
    assert first.get("/api/alarms").status == 401
    assert second.get("/api/alarms").status == 200
    with second.live() as stream:
        assert stream.next()[0] == "state"
        users.set_password(rig.data, "leaver", PASSWORD + "!", 2)
        stream.until("signed_out")
        assert stream.answer.read() == b""
    assert second.get("/api/alarms").status == 401
    assert second.sign_in("leaver", PASSWORD + "!").status == 200
    users.remove_user(rig.data, "leaver")
    until(lambda: second.get("/api/alarms").status == 401, "the removed user is nobody")
    assert rig.said("leaver signed in to the console from 127.0.0.1.")
    assert rig.said("leaver signed out of the console.")


def test_a_display_that_is_removed_ends(rig: Rig) -> None:
    token = users.add_wall(rig.data, "gate", 1)
    browser = Browser(rig)
    until(lambda: browser.post("/api/wall", {"token": token}).status == 200, "it is known")
    assert browser.get("/api/me").json["role"] == "wall"
    with browser.live() as stream:
        users.remove_wall(rig.data, "gate")
        stream.until("signed_out")
    assert browser.get("/api/state").status == 401


def test_openapi_describes_every_route(browsers: dict[str, Browser]) -> None:
    described = browsers["viewer"].get("/api/openapi.json").json["paths"]
    wanted = {*READING, *(f"/api/commands/{ask}" for ask in COMMANDS)}
    wanted |= {"/api/me", "/api/sign-in", "/api/sign-out", "/api/wall"}
    assert set(described) == wanted


# -- the live stream ---------------------------------------------------------------------------


def test_changes_come_as_they_happen_and_who_comes_back_gets_what_was_missed(
    rig: Rig, browsers: dict[str, Browser]
) -> None:
    with browsers["viewer"].live() as stream:
        event, whole = stream.next()
        assert event == "state"
        assert whole["site"] == {"gateway": "SD-1"}
        rig.push({"alarms": {"changed": [row("gds/b|low")], "gone": []}})
        assert [one["key"] for one in stream.until("change")["alarms"]["changed"]] == ["gds/b|low"]
    last_id = stream.last_id
    rig.push({"alarms": {"changed": [row("gds/c|low")], "gone": ["gds/b|low"]}})
    until(lambda: "gds/c|low" in str(browsers["viewer"].get("/api/state").content), "it is there")
    with browsers["viewer"].live(last_id) as stream:
        event, missed = stream.next()
        assert event == "change"
        assert missed["alarms"]["gone"] == ["gds/b|low"]
    for unknown in ("x", "deadbeef-1", last_id.partition("-")[0] + "-99999999"):
        with browsers["viewer"].live(unknown) as stream:
            assert stream.next()[0] == "state"
    rig.push({"alarms": {"changed": [], "gone": ["gds/c|low"]}})
