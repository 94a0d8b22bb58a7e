"""Gone gateways, killed consoles, stalled browsers, guessed passwords, and who ends with whom."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config import users
from gateway.config.console import ConsoleConfig
from gateway.config.users import Role
from gateway.console.messages import Order, encoded
from gateway.console.process import SILENCE_S
from gateway.console.throttle import FREE
from tests.fakes.control_gateway import row
from tests.gateway.console.rig import PASSWORD, Browser, console, until

ONE = {"viewer": Role.VIEWER}


def test_a_gateway_that_goes_is_shown_and_so_is_its_return(tmp_path: Path) -> None:
    with console(tmp_path, ONE) as rig:
        browser = Browser(rig)
        assert browser.sign_in("viewer").status == 200
        rig.wait_watching()
        with browser.live() as stream:
            assert stream.next()[0] == "state"
            rig.call(rig.gateway.close())
            assert stream.until("gone")["error"]
            assert browser.get("/api/state").status == 503
            assert browser.get("/api/values").status == 503
            rig.gateway.state["alarms"] = [row("gds/new|high")]
            rig.call(rig.gateway.open())
            assert [one["key"] for one in stream.until("state")["alarms"]] == ["gds/new|high"]
        assert browser.get("/api/state").status == 200


def test_a_gateway_that_talks_nonsense_is_left_and_asked_again(tmp_path: Path) -> None:
    with console(tmp_path, ONE) as rig:
        browser = Browser(rig)
        assert browser.sign_in("viewer").status == 200
        rig.wait_watching()
        with browser.live() as stream:
            assert stream.next()[0] == "state"
            lines: tuple[dict[str, Any], ...] = ({"sections": [1]}, {"alarms": {"changed": [{}]}})
            for line in lines:
                rig.push(line)
                assert "makes no sense" in stream.until("gone")["error"]
                assert stream.until("state")["site"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_console_that_is_killed_or_freezes_is_started_again_and_noted(
    tmp_path: Path, number: signal.Signals
) -> None:
    silence_s = 5.0 if number is signal.SIGSTOP else SILENCE_S
    with console(tmp_path, ONE, silence_s=silence_s) as rig:
        browser = Browser(rig)
        assert browser.sign_in("viewer").status == 200
        key = rig.data / "console" / "console.key"
        assert key.stat().st_mode & 0o777 == 0o600
        made, first = key.read_bytes(), rig.process.pid
        assert first is not None
        os.kill(first, number)
        until(lambda: rig.process.pid not in {None, first}, "another process runs")
        assert browser.get("/api/alarms").status == 401  # sessions are of one process
        assert key.read_bytes() == made
        assert rig.process.statistics()["starts"] >= 2
        assert rig.process.health()[0]
    said = "console is lost" if number is signal.SIGKILL else "console was silent"
    assert {kind for kind, _, text, _ in rig.notes if said in text} == {"part.failed"}


def test_a_stalled_browser_costs_nobody_anything(tmp_path: Path) -> None:
    with console(tmp_path, ONE) as rig:
        browser = Browser(rig)
        assert browser.sign_in("viewer").status == 200
        rig.wait_watching()
        text = "x" * 1000
        with browser.live(receive_bytes=4096) as stalled, browser.live() as stream:
            assert stalled.answer.status == 200  # and nothing more is read of it
            assert stream.next()[0] == "state"
            before = rig.process.statistics()["resident_bytes"]
            for number in range(60):
                rows = [row(f"gds/{n}|high", text=text, n=number) for n in range(400)]
                rig.push({"alarms": {"changed": rows, "gone": []}})
                found = stream.until("change")
                assert found["alarms"]["changed"]
            grown = rig.process.statistics()["resident_bytes"] - before
            # 60 pieces of 0.4 MB for either stream would be 24 MB beside what is held anyway.
            assert grown < 20 << 20
            assert browser.get("/api/state").status == 200


def test_guessing_is_slowed_down_and_told(tmp_path: Path) -> None:
    with console(tmp_path, ONE) as rig:
        browser = Browser(rig)
        statuses = [browser.sign_in("viewer", f"wrong one {n}").status for n in range(FREE)]
        assert statuses == [401] * FREE
        refused = browser.sign_in("viewer")  # the right one, but too soon
        while refused.status == 200:  # on a machine that stalls the second is over
            browser.sign_in("viewer", "wrong")
            refused = browser.sign_in("viewer")
        assert refused.status in {429, 401}
        slowed = browser.sign_in("nobody")
        assert slowed.status in {429, 401}
        if slowed.status == 429:
            assert int(slowed.headers["retry-after"]) >= 1
        until(lambda: rig.said("A wrong password for the console, viewer, from 127.0.0.1"), "it")
        assert not any("wrong one" in text for _, _, text, _ in rig.notes)
        until(lambda: browser.sign_in("viewer").status == 200, "time makes up for it")


def test_until_somebody_could_sign_in_only_this_machine_reaches_it(tmp_path: Path) -> None:
    with console(tmp_path, {}, listen="0.0.0.0:0") as rig:
        assert rig.address[0] == "127.0.0.1"
        reply = Browser(rig).get("/api/me")
        assert (reply.status, reply.json["setup"]) == (401, True)
        users.add_user(rig.data, "viewer", Role.VIEWER, PASSWORD, 1)
        until(lambda: rig.address[0] == "0.0.0.0", "it listens where it was told to")  # noqa: S104 - what was configured
        assert rig.process.statistics()["starts"] == 1


def test_plain_http_on_loopback_has_a_cookie_that_browsers_take(tmp_path: Path) -> None:
    with console(tmp_path, ONE, insecure=True) as rig:
        assert rig.process.address == "" or rig.process.address.startswith("http://127.0.0.1:")
        browser = Browser(rig)
        cookie = browser.sign_in("viewer").headers["set-cookie"]
        assert cookie.startswith("plantgate=")
        assert "Secure" not in cookie
        assert browser.get("/api/alarms").status == 200


def test_an_address_that_is_taken_is_a_sentence_and_no_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with console(tmp_path, ONE, listen=f"127.0.0.1:{port}") as rig:
            until(lambda: rig.said(f"cannot listen on 127.0.0.1:{port}"), "it is said")
            assert not rig.process.health()[0]
            taken.close()
            until(lambda: rig.process.health()[0], "it listens once the address is free")


@pytest.mark.parametrize("hangs", [False, True])
def test_a_console_ends_when_the_gateway_is_killed(tmp_path: Path, hangs: bool) -> None:
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(
        [sys.executable, "-m", "gateway.console", "--fd", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
    )
    try:
        theirs.close()
        order = Order(config=ConsoleConfig(listen="127.0.0.1:0"), data_dir=tmp_path)
        ours.sendall(encoded(order))
        ours.settimeout(60)
        lines = ours.makefile("rb")
        while json.loads(lines.readline())["type"] != "ready":
            pass
        if hangs:
            os.kill(child.pid, signal.SIGSTOP)
        lines.close()
        ours.close()  # what the kernel does for a gateway that is killed
        if hangs:
            time.sleep(0.1)
            os.kill(child.pid, signal.SIGCONT)
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.wait()
