"""`check --connect` against node-opcua, encrypted, and a GStreamer RTSP camera with a login."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.opcua_node import install_node_opcua, serving
from tests.gateway.doctor.rig import of, site_of, visited, words
from tests.peers.test_camera_rtsp import clip, rtsp_camera

__all__ = ["clip"]
pytestmark = pytest.mark.peer
PASSWORD = "p@ss:/1 密码"
SEEN = [("stream", "good"), ("picture", "good")]
VISITS = 3
"""A camera that takes seconds to answer is told as slow, which a busy machine makes of any."""


async def test_a_server_and_a_camera_of_other_makers_are_told_as_they_are(
    clip: Path,  # pytest's way to take a fixture of another module
    tmp_path: Path,
) -> None:
    install_node_opcua()
    (tmp_path / "cam.secret").write_text(PASSWORD, encoding="utf-8")
    (tmp_path / "cam.secret").chmod(0o600)
    login = ("--user", "admin", "--password", PASSWORD)
    with serving(tmp_path / "server", period=50, items=2, analog=True) as peer:
        async with rtsp_camera(clip, *login) as (_, url):
            config = peer.config(security="Basic256Sha256")
            keys = "\n".join(
                f'{name} = "{value}"'
                for name in ("certificate", "key", "server_certificate", "trust", "user",
                             "password_file", "security", "mode")
                if (value := getattr(config, name)) is not None
            )  # fmt: skip
            text = f"""
[[device]]
name = "dcs"
driver = "opcua"
endpoint = "{config.servers[0]}"
timeout_ms = 60000
{keys}
points = "dcs.csv"
[[camera]]
name = "unit1"
source = "{url}"
user = "admin"
password_file = "cam.secret"
analyse_fps = 1
"""
            rows = (
                "name,node,type,range_low,range_high\nright,nsu=urn:plantgate:peer;s=Double,float,,\n"
                "lacks,nsu=urn:plantgate:peer;s=NoSuch,float,,\n"
                "analog,nsu=urn:plantgate:peer;s=Analog,float,0,100\n"
            )
            site = site_of(tmp_path, text, {"dcs.csv": rows})
            for _ in range(VISITS):
                found = await visited(site, tmp_path)
                camera = of(found, "unit1")
                if words(camera) == SEEN:
                    break
    assert words(camera) == SEEN
    assert "login taken, H264" in camera[0].text
    assert "768 x 576" in camera[1].text
    dcs = of(found, "dcs")
    states = {(one.about.value[0], one.state.value) for one in dcs}
    assert {("security", "good"), ("certificate", "good"), ("device", "good"), ("link", "good"),
            ("points", "fault")} <= states  # fmt: skip
    assert any("analog 0.0…100.0 / 0…200" in one.text for one in dcs)
    assert any("lacks (nsu=urn:plantgate:peer;s=NoSuch)" in one.text for one in dcs)
