"""`check --connect`: cameras, receivers, notifiers, and a gateway that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.doctor.finding import MACHINE, State, all_good
from gateway.doctor.machine import kind_of, memory
from gateway.receiver.enrolment import read_enrolment
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.gate import Gate
from gateway.receiver.quota import Quota
from gateway.receiver.service import Receiver, Tls
from gateway.receiver.sqlite.store import SqliteStore
from gateway.runtime.clock import SystemClock
from tests.fakes.certificates import GATEWAY_URI, Authority
from tests.fakes.control_gateway import ControlGateway
from tests.fakes.hook_server import HookServer
from tests.fakes.http_camera import HttpCamera
from tests.fakes.listening import Listener
from tests.fakes.modbus_server import ModbusServer
from tests.fakes.receiver import FakeReceiver
from tests.fakes.rtsp_camera import RtspCamera
from tests.gateway.doctor.rig import of, site_of, visited, words, wrong
from tests.gateway.receiver.serving import serving

ID = "SD-370800-000123-01"
UPLINK = """
[[uplink]]
name = "province"
target = "127.0.0.1:{port}"
ca = "{ca}"
certificate = "{pair.certificate}"
key = "{pair.key}"
"""


def _jpeg() -> bytes:
    picture = np.random.default_rng(1).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1])


async def test_a_camera_that_is_well_is_told_with_size_and_rate(tmp_path: Path) -> None:
    async with HttpCamera([_jpeg()], login=("admin", "right"), fps=20.0) as camera:
        (tmp_path / "cam.secret").write_text("right", encoding="utf-8")
        text = f"""
[[camera]]
name = "unit1"
source = "{camera.url}"
user = "admin"
password_file = "cam.secret"
analyse_fps = 0.1
record = "always"
record_source = "{camera.url.replace("live", "main")}"
"""
        found = of(await visited(site_of(tmp_path, text), tmp_path), "unit1")
    assert words(found) == [("stream", "good"), ("picture", "good"), ("stream", "fault")]
    assert "has no stream of this path" in found[2].text
    assert "login taken" in found[0].text
    assert "160 x 120, first picture after" in found[1].text


async def test_a_recorder_that_refuses_is_asked_once_for_all_its_cameras(tmp_path: Path) -> None:
    """Sixteen refusals at once would lock the gateway's address out of the recorder."""
    async with (
        HttpCamera([_jpeg()], login=("admin", "right")) as camera,
        HttpCamera([_jpeg()], login=("admin", "other")) as recorder,
    ):
        (tmp_path / "cam.secret").write_text("right", encoding="utf-8")
        text = "".join(
            f"""
[[camera]]
name = "{host}"
source = "http://{host}:{camera.port}/live"
user = "admin"
password_file = "cam.secret"
analyse_fps = 0.1
record = "always"
record_source = "{recorder.url}"
"""
            for host in ("127.0.0.1", "localhost")  # two hosts are tried at the same time
        )
        site = site_of(tmp_path, text)
        found = await visited(site, tmp_path)
        again = await visited(site, tmp_path)
        assert recorder.logins == [False]
    told = [one for one in found if one.text.startswith("recorded: ")]
    assert sorted(one.state.value for one in told) == ["fault", "not_tried"]
    told = [one for one in again if one.text.startswith("recorded: ")]
    assert [one.state.value for one in told] == ["not_tried", "not_tried"]
    assert all(recorder.url in one.chinese for one in told)


async def test_a_refused_login_is_tried_once_even_by_a_second_check(tmp_path: Path) -> None:
    async with RtspCamera(login=("admin", "right")) as camera:
        secret = tmp_path / "cam.secret"
        secret.write_text("wrong", encoding="utf-8")
        text = "".join(
            f"""
[[camera]]
name = "{name}"
source = "rtsp://127.0.0.1:{camera.port}/{name}"
user = "admin"
password_file = "cam.secret"
"""
            for name in ("one", "two")
        )
        site = site_of(tmp_path, text)
        found = await visited(site, tmp_path)
        again = await visited(site, tmp_path)
        refused = list(camera.logins)
        secret.write_text("wrong too", encoding="utf-8")
        await visited(site, tmp_path)
        changed = list(camera.logins)
    assert [words(of(found, name)) for name in ("one", "two")] == [
        [("login", "fault")], [("login", "not_tried")],
    ]  # fmt: skip
    assert [words(of(again, name)) for name in ("one", "two")] == [[("login", "not_tried")]] * 2
    assert refused == [False]
    assert changed == [False, False]  # another password is tried at once, and once
    assert "wrong" not in str(found)
    assert "wrong" not in (tmp_path / "cache" / "refused-logins.json").read_text(encoding="utf-8")
    assert not all_good(again)


@contextlib.asynccontextmanager
async def _receiving(
    folder: Path, authority: Authority, gate: Gate
) -> AsyncIterator[tuple[int, SqliteStore]]:
    pair = authority.issue("receiver")
    tls = Tls(authority.ca.read_bytes(), pair.certificate.read_bytes(), pair.key.read_bytes())
    with contextlib.closing(SqliteStore.open(folder / "store")) as store:
        receiver = Receiver(store, EvidenceFiles(folder / "files"), SystemClock(), tls, gate)
        async with serving(receiver) as port:
            yield port, store


async def test_a_receiver_is_asked_to_let_us_in_and_keeps_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("gateway", uri=GATEWAY_URI + ID)
    async with _receiving(tmp_path, authority, Gate()) as (port, _):
        site = site_of(tmp_path, UPLINK.format(port=port, ca=authority.ca, pair=pair))
        found = of(await visited(site, tmp_path), "province")
    assert words(found) == [
        ("link", "good"), ("certificate", "good"), ("certificate", "good"), ("enrolment", "good"),
        ("clock", "good"), ("version", "good"),
    ]  # fmt: skip
    assert found[-1].text.startswith("it is plantgate/")
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "receiver.db")) as store:
        assert store.execute("SELECT count(*) FROM gateways").fetchone() == (0,)


async def test_a_gateway_that_is_not_enrolled_is_told_so(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("gateway", uri=GATEWAY_URI + ID)
    gate = Gate(read_enrolment("gateway\nSD-OTHER\n", Quota()))
    async with _receiving(tmp_path, authority, gate) as (port, _):
        site = site_of(tmp_path, UPLINK.format(port=port, ca=authority.ca, pair=pair))
        found = of(await visited(site, tmp_path), "province")
    (refused,) = wrong(found)
    assert (refused.about.value[0], refused.state) == ("enrolment", State.FAULT)
    assert "not on the enrolment list" in refused.text
    assert "have the platform enrol" in refused.advice


async def test_a_certificate_of_another_authority_is_told_as_such(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other-ca")
    pair = other.issue("gateway", uri=GATEWAY_URI + ID)
    async with _receiving(tmp_path, authority, Gate()) as (port, _):
        site = site_of(tmp_path, UPLINK.format(port=port, ca=authority.ca, pair=pair))
        found = of(await visited(site, tmp_path), "province")
    assert words(found) == [("link", "good"), ("certificate", "fault")]
    assert "does not accept the certificate" in found[1].text
    assert found[1].chinese == "证书或 TLS 不被接受"


async def test_a_receiver_that_knows_no_trials_still_tells_that_we_may_enter(
    tmp_path: Path,
) -> None:
    async with FakeReceiver() as receiver:
        text = f'\n[[uplink]]\nname = "old"\ntarget = "{receiver.target}"\ninsecure = true\n'
        found = of(await visited(site_of(tmp_path, text), tmp_path), "old")
        assert receiver.hellos == []
    assert words(found) == [("link", "good"), ("enrolment", "good")]
    assert "older than this check" in found[1].text


async def test_notifiers_are_reached_and_told_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with HookServer(authority) as hook:
        text = f"""
[notify]
roster = "roster.csv"
[[notifier]]
name = "sms"
type = "webhook"
url = "https://127.0.0.1:{hook.port}/send"
ca = "{authority.ca}"
[[notifier]]
name = "dead"
type = "webhook"
url = "https://127.0.0.1:1/send"
[[notifier]]
name = "siren"
type = "sound"
command = ["no-such-program", "{{file}}"]
"""
        roster = (
            "position,from,to,step,person,contact,notifier\n"
            "*,08:00,08:00,1,王芳,1,sms\n*,08:00,08:00,2,李雷,2,dead\n*,08:00,08:00,3,塔,3,siren\n"
        )
        found = await visited(site_of(tmp_path, text, {"roster.csv": roster}), tmp_path)
        assert hook.hooks == []
    assert words(of(found, "sms")) == [("link", "good")]
    assert words(of(found, "dead")) == [("link", "fault")]
    assert "not installed" in of(found, "siren")[0].text


async def test_a_running_gateway_is_asked_and_its_devices_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with ModbusServer(registers=10) as server, ControlGateway(tmp_path / "data") as gateway:
        link = {"connected": True, "text": "", "since_ns": 1}
        gateway.answers["state"] = {
            "site": {"software": "plantgate/9"},
            "sections": {"sources": {"gds-1": link}, "cameras": {}, "uplinks": {}},
        }
        gateway.answers["values"] = lambda request: {
            "rows": [
                {"name": name, "quality": "bad:illegal_address" if name[-1] == "b" else "good"}
                for name in request["names"]
            ]
        }
        text = f"""
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {server.port}
points = "gds.csv"
[[device]]
name = "new"
driver = "modbus"
host = "127.0.0.1"
port = {server.port}
unit = 2
points = "gds.csv"
"""
        rows = "name,area,address,type\na,holding,1,u16\nb,holding,2,u16\n"
        site = site_of(tmp_path, text, {"gds.csv": rows})
        found = await visited(site, tmp_path)
        accepted = server.accepted
        beside = await visited(site, tmp_path, beside=True)
    assert accepted == 0
    assert server.accepted >= 2
    assert words(of(found, "gds-1")) == [("link", "good"), ("points", "doubtful")]
    assert "1 of 2 points good; 1 bad:illegal_address: b" in of(found, "gds-1")[1].text
    assert of(found, "new")[0].state is State.NOT_TRIED
    assert "a gateway (plantgate/9) runs" in of(found, MACHINE)[-1].text
    assert words(of(beside, "gds-1")) == [("link", "good")]


async def test_beside_a_gateway_that_does_not_answer_nothing_is_tried(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = Listener(hang_up)
    async with ModbusServer(registers=10) as server:
        await listener.open_at(tmp_path / "data" / "control.sock")
        try:
            text = f"""
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {server.port}
points = "gds.csv"
"""
            rows = "name,area,address,type\na,holding,1,u16\n"
            found = await visited(site_of(tmp_path, text, {"gds.csv": rows}), tmp_path)
        finally:
            await listener.close()
        assert server.accepted == 0
    told = of(found, MACHINE)[-1]
    assert (told.about.value[0], told.state) == ("gateway", State.NOT_TRIED)
    assert "does not answer" in told.text
    assert not all_good(found)


async def test_a_mistake_in_one_part_hides_nothing_of_the_others(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("gateway", uri=GATEWAY_URI + ID)
    text = UPLINK.format(port=1, ca=authority.ca, pair=pair)
    site = site_of(tmp_path, text + text.replace("province", "city"))
    broken = site.uplinks[0].model_copy(update={"target": "no address"})
    found = await visited(replace(site, uplinks=(broken, site.uplinks[1])), tmp_path)
    [told] = of(found, "province")
    assert told.state is State.NOT_TRIED
    assert "this command failed (ValueError: must be host:port" in told.text
    assert words(of(found, "city")) == [("link", "fault")]
    assert not all_good(found)


MOUNTS = """22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 22 0:44 / /mnt/big\\040disk rw - nfs4 nas:/x rw
36 22 0:45 / /mnt rw - xfs /dev/sdb rw
37 22 0:46 / /auto rw - autofs systemd-1 rw
38 37 0:47 / /auto rw - cifs //nas/x rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/mnt/big disk/data", "nfs4"),
        ("/mnt/big", "xfs"),
        ("/mnt", "xfs"),
        ("/auto/data", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_longest_mount(folder: str, kind: str) -> None:
    assert kind_of(Path(folder), MOUNTS) == kind


def test_memory_is_judged_by_what_is_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2097152 kB\nMemAvailable: 400000 kB\n", encoding="ascii")
    assert memory(0, meminfo).state is State.GOOD
    short = memory(8, meminfo)
    assert short.state is State.FAULT
    assert "390 MB free, about 545 MB needed" in short.text
    assert memory(8, meminfo, runs=True).state is State.GOOD, "it has taken its share already"
