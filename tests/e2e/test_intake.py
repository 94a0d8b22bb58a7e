"""Site systems hand in at a running gateway; what was answered 200 reaches the receiver.

Gateway and receiver are processes of their own; permits, samples and a picture come over HTTP with
a token, a permit more by file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World, free_port, listens, stop, until

pytestmark = pytest.mark.e2e

TOKEN = "0123456789abcdef"
TIME = "2026-05-01T08:00:00+08:00"


def write_site(world: World, port: int) -> None:
    """An HTTP intake with a token and a mapping file, and the folder of a one-way gate."""
    (world.folder / "gate").mkdir()
    (world.folder / "points.csv").write_text(
        "name,id,type,high\nrecords,#records,,\nTI-101,DCS.TI101.PV,float,80\n", encoding="utf-8"
    )
    tokens = world.folder / "senders"
    tokens.write_text(f"tickets {TOKEN}\n", encoding="utf-8")
    tokens.chmod(0o600)
    (world.folder / "mapping.toml").write_text(
        """
source = "ticket-system"
[table.fire]
record = "permit"
rows = "datas"
time_format = "yyyyMMddHHmmss"
fields = {id = "id", time = "updateDate", ticket_no = "ticketNo", status = "ticketStatus"}
values.status = {"1" = "approved"}
defaults.work = "hot_work"
""",
        encoding="utf-8",
    )
    world.write_site(
        f"""
[[device]]
name = "tickets"
driver = "intake_http"
listen = "127.0.0.1:{port}"
tokens = "senders"
mapping = "mapping.toml"
points = "points.csv"

[[device]]
name = "gate"
driver = "intake_folder"
folder = "gate"
look_ms = 200
"""
    )


def post(port: int, path: str, body: object) -> tuple[int, dict[str, Any]]:
    """POST JSON with the token; gives status and answer."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.load(reply)


def post_picture(port: int, picture: bytes) -> int:
    """POST a picture with the fields of its alarm as multipart/form-data; gives the status."""
    parts = {"time": TIME, "alarm": "no_helmet", "camera": "cam-7"}
    body = b"".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    body += b'--edge\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    body += picture + b"\r\n--edge--\r\n"
    headers = {"Authorization": f"Bearer {TOKEN}",
               "Content-Type": "multipart/form-data; boundary=edge"}  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/pictures", body, headers)
        return connection.getresponse().status


def events(world: World, kind: str) -> list[dict[str, str]]:
    """Events of a kind at the receiver, in order; attributes are beside their other columns."""
    result = world.plantgate("query", "--store", str(world.store), "--events", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return [{**event, **event["attributes"]} for event in found if event["kind"] == kind]


def permits(world: World) -> list[dict[str, str]]:
    """Permits of the HTTP intake at the receiver."""
    return [event for event in events(world, "intake.permit") if event["source"] == "tickets"]


def test_what_site_systems_hand_in_reaches_the_receiver_also_over_a_kill(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        port = free_port()
        write_site(world, port)
        checked = world.plantgate("check", str(world.site), check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        world.start_receiver()
        gateway = world.start_gateway()
        world.until_ready(gateway, lambda: listens(port), "the intake listens")

        row = {"id": "t1", "updateDate": "20260501080000", "ticketNo": "DH-1",
               "ticketStatus": "1", "leader": "王"}  # fmt: skip
        wrong = {**row, "id": "t2", "updateDate": "?"}
        status, answer = post(port, "/v1/fire", {"datas": [row, wrong]})
        assert (status, answer["success"], answer["code"]) == (200, False, 207)
        assert [(r["id"], r["ok"]) for r in answer["data"]] == [("t1", True), ("t2", False)]
        sample = {"id": "DCS.TI101.PV", "time": TIME, "value": 85.5, "quality": 192}
        stale = {**sample, "time": "2026-05-01T08:00:01+08:00", "quality": 68}
        assert post(port, "/v1/samples", [sample, stale])[1]["success"]

        until(lambda: permits(world), what="the permit is at the receiver")
        (said,) = permits(world)
        assert (said["ticket_no"], said["status"], said["sent.status"]) == ("DH-1", "approved", "1")
        assert (said["extra.leader"], said["work"]) == ("王", "hot_work")
        until(lambda: world.query("--point", "tickets/TI-101"), what="samples")
        rows = [(r.time, r.value, r.quality) for r in world.query("--point", "tickets/TI-101")]
        assert rows[:2] == [
            ("2026-05-01T00:00:00.000Z", 85.5, "good"),
            ("2026-05-01T00:00:01.000Z", 85.5, "uncertain:stale"),
        ]

        picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
        assert post_picture(port, picture) == 200
        export = world.folder / "gate" / "permit_0501.csv"
        export.write_text(
            f"id,time,ticket_no,work,status\ng1,{TIME},DH-9,confined_space,closed\n",
            encoding="utf-8",
        )
        until(lambda: events(world, "evidence_attached"), what="the picture is there")
        (seen,) = events(world, "intake.picture")
        assert seen["picture_sha256"] == hashlib.sha256(picture).hexdigest()
        attached = events(world, "evidence_attached")[0]["text"]
        assert f"{seen['picture_sha256'][:16]} (image/png, {len(picture)} bytes)" in attached
        from_gate = until(
            lambda: [e for e in events(world, "intake.permit") if e["source"] == "gate"],
            what="the permit of the gate is there",
        )  # fmt: skip
        until(lambda: world.query("--point", "gate/records"), what="own points")
        assert (from_gate[0]["ticket_no"], from_gate[0]["work"]) == ("DH-9", "confined_space")
        moved = world.folder / "gate" / "done" / "permit_0501.csv"
        until(moved.is_file, what="the file of the gate is moved")

        for number in range(2):
            done = {**row, "id": f"k{number}"}
            assert post(port, "/v1/fire", {"datas": [done]})[1]["success"]
            stop(gateway, signal.SIGKILL)
            gateway = world.start_gateway()
            world.until_ready(gateway, lambda: listens(port), "the intake listens again")
        until(lambda: len(permits(world)) >= 3, what="permits of all kills")
        assert [permit["id"] for permit in permits(world)] == ["t1", "k0", "k1"]
        assert post(port, "/v1/nothing", {})[0] == 404
        raised = [alarm for alarm in world.alarms() if "tickets/TI-101" in " ".join(alarm.values())]
        assert raised, "85.5 is above the limit of 80 in the point table"
        assert stop(gateway) == 0
