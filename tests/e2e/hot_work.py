"""The verbs of a day of hot work: what the site's systems say, really sent to the gateway."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gateway.rules.rulebook import PLANT_TIME
from tests.e2e.world import ROOT, World

TOKEN = "0123456789abcdef"
SERVER = ROOT / "tests" / "peers" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"  # has python3-gi
TICKET = "DH-2026-17"


def ago(minutes: float) -> dt.datetime:
    """So many minutes before now."""
    return dt.datetime.now(PLANT_TIME) - dt.timedelta(minutes=minutes)  # noqa: TID251 - a test's


def calendar(folder: Path) -> None:
    """A calendar by which it is night now, and tomorrow a holiday."""
    now, tomorrow = ago(0), ago(-24 * 60)
    days: dict[int, list[str]] = {now.year: [], now.year + 1: []}
    days[tomorrow.year].append(f'holidays = ["{tomorrow:%Y-%m-%d}"]')
    if now.weekday() >= 5:  # then it is worked today 调休
        days[now.year].append(f'workdays = ["{now:%Y-%m-%d}"]')
    years = [line for year, told in days.items() for line in (f"[year.{year}]", *told)]
    night = f'night = ["{ago(180):%H:%M}", "{ago(-180):%H:%M}"]'
    (folder / "calendar.toml").write_text("\n".join((night, *years, "")), encoding="utf-8")


def covered_clip(folder: Path) -> Path:
    """A clip as a covered lens gives it: dark, with the sensor's noise."""
    path = folder / "covered.avi"
    random = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (768, 576))
    for _ in range(12):
        writer.write(random.integers(4, 9, (576, 768, 3), np.uint8))
    writer.release()
    return path


class HotWorkDay:
    """One permit, and everything that happens around it."""

    def __init__(self, world: World, intake_port: int) -> None:
        self._world = world
        self._port = intake_port
        self._count = 0
        self._said: dict[str, Any] = {
            "ticket_no": TICKET, "work": "hot_work", "level": "first", "area": "泵区",
            "content": "焊接管线", "worker": "李强", "guardian": "张伟", "guardian_card": "C7",
            "camera": "BKQ-7", "plan_start": ago(45).isoformat(),
        }  # fmt: skip

    def permit(self, status: str, at: dt.datetime, **edited: str) -> None:
        """The ticket system sends the permit; what was edited once stays."""
        self._said |= edited
        self._count += 1
        row = {**self._said, "id": f"p{self._count}", "time": at.isoformat(), "status": status}
        self._post("/v1/permit", row)

    def sampled(self, at: dt.datetime, value: float = 0.1) -> None:
        """The laboratory sends a gas analysis."""
        self._count += 1
        row = {"id": f"g{self._count}", "time": at.isoformat(), "permit": TICKET, "gas": "甲烷",
               "value": value, "unit": "%vol", "place": "泵出口"}  # fmt: skip
        self._post("/v1/gas_analysis", row)

    def guardian_in(self, area: str) -> None:
        """Positioning sends where the guardian's card is."""
        self._count += 1
        row = {"id": f"c{self._count}", "time": ago(0).isoformat(), "card": "C7", "area": area}
        self._post("/v1/position", row)

    def people(self, count: int) -> None:
        """Positioning sends the headcount of the area."""
        self._count += 1
        row = {"id": f"n{self._count}", "time": ago(0).isoformat(), "area": "泵区", "people": count}
        self._post("/v1/position_count", row)

    def helmet_missing(self, camera: str) -> bytes:
        """A vendor's AI box sends its picture; gives it."""
        _, encoded = cv2.imencode(".jpg", np.full((48, 64, 3), 127, np.uint8))
        picture = encoded.tobytes()
        fields = {"time": ago(0).isoformat(), "alarm": "no_helmet", "camera": camera}
        body = b"".join(
            f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        body += b'--edge\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        body += picture + b"\r\n--edge--\r\n"
        self._send("/v1/pictures", body, "multipart/form-data; boundary=edge")
        return picture

    def _post(self, path: str, row: dict[str, Any]) -> None:
        answer = self._send(path, json.dumps(row).encode(), "application/json")
        assert answer["success"], answer

    def _send(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            return dict(json.load(reply))


def rtsp(world: World, clip: Path, port: int) -> subprocess.Popen[bytes]:
    """GStreamer's server with a clip, as a process of the world; ready on return."""
    command = [SYSTEM_PYTHON, str(SERVER), "--clip", str(clip), "--cache",
               str(ROOT / ".cache" / "rtsp"), "--port", str(port)]  # fmt: skip
    last = ["--first", "0", "--last", "10"] if clip.name == "covered.avi" else []
    process = world.start(f"rtsp-{clip.stem}", [*command, *last])
    said = world.log_of(process)
    world.until_ready(process, lambda: "ready" in said.read_text(), f"{clip.name} is served")
    return process


def write_site(world: World, ports: dict[str, int]) -> None:
    """Detector, intake, camera, and the area that binds them; short holds."""
    (world.folder / "gds.csv").write_text(
        "name,area,address,type,unit,gas\nAT-101,holding,0,u16,%LEL,methane\n"
        "NVR-REC,holding,1,u16,,\n",
        encoding="utf-8",
    )
    (world.folder / "intake.csv").write_text("name,id\nrecords,#records\n", encoding="utf-8")
    tokens = world.folder / "senders"
    tokens.write_text(f"site {TOKEN}\n", encoding="utf-8")
    tokens.chmod(0o600)
    calendar(world.folder)
    world.write_site(
        f"""
[work]
calendar = "calendar.toml"
guardian_s = 2
people_s = 1
camera_s = 5
ppe_s = 1
merge_s = 1

[[permit_area]]
name = "pump-yard"
names = ["泵区"]
gas = ["gds/AT-101"]
recording = "gds/NVR-REC"
max_people = 6

[[permit_device]]
code = "BKQ-7"
camera = "ball-7"

[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = {ports["modbus"]}
unit = 1
poll_ms = 200
timeout_ms = 20000
points = "gds.csv"

[[device]]
name = "site"
driver = "intake_http"
listen = "127.0.0.1:{ports["intake"]}"
tokens = "senders"
points = "intake.csv"

[[camera]]
name = "ball-7"
source = "rtsp://127.0.0.1:{ports["rtsp"]}/unit1"
analyse_fps = 2
kind = "mobile"
clip_after_s = 2
[[camera.zone]]
name = "work"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
"""
    )
