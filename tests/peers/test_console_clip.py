"""In a real browser: an alarm's clip plays where it stands; an unwatched permit is marked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.gateway.console.rig import PASSWORD, console
from tests.peers.browser import Browser
from vision.clip import Picture, avi

pytestmark = pytest.mark.peer
KEY = "unit1-east/hot-work-1|over_count"
FRAMES = 7


def _clip() -> bytes:
    """A bright bar that goes to the right, two pictures a second."""
    pictures = []
    for at in range(FRAMES):
        image = np.full((180, 320, 3), 40, np.uint8)
        image[:, 40 * at : 40 * at + 30] = (60, 200, 240)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        pictures.append(Picture(jpeg, at * 500_000_000, 320, 180))
    return avi(pictures)


def _alarm() -> dict[str, Any]:
    texts = ("place", "hazard", "equipment", "operator", "reason", "declaration", "clause",
             "description", "text", "quality", "position")  # fmt: skip
    return {
        **dict.fromkeys(texts, ""), "key": KEY, "source": "unit1-east/hot-work-1",
        "condition": "over_count", "state": "unacknowledged_active", "priority": 1,
        "value": 8, "limit": 6, "unit": "people", "rule": "vision.over_count/1",
        "alarm_id": "ab" * 16, "raised_ns": 1_795_900_000_000_000_000,
        "since_ns": 1_795_900_000_000_000_000, "until_ns": 0, "active": True, "handling": "",
    }  # fmt: skip


def _permit(ticket: str, area: str, *, watched: bool) -> dict[str, Any]:
    texts = ("place", "content", "worker", "company", "camera", "detectors", "record")
    return {
        **dict.fromkeys(texts, ""), "ticket_no": ticket, "work": "hot_work", "state": "active",
        "counted": "active", "waiting_for": [], "level": "first", "area": area, "started": "–",
        "ended": "–", "violations": 0, "standing": 0, "special_time": [], "guardian": "张伟",
        "plan_start_ns": 0, "plan_end_ns": 0, "started_ns": 1_795_900_000_000_000_000,
        "ended_ns": 0, "now_violated": [], "analyses": [], "watched": watched,
    }  # fmt: skip


def test_a_clip_plays_and_a_permit_in_an_unknown_area_is_marked(tmp_path: Path) -> None:
    content = _clip()
    sha256 = hashlib.sha256(content).hexdigest()
    with console(tmp_path, insecure=True) as rig, Browser(tmp_path / "profile") as browser:
        place = rig.data / "evidence" / sha256[:2] / sha256[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        file = {"sha256": sha256, "media_type": "video/x-msvideo", "time_ns": 1,
                "total_bytes": len(content), "source": "unit1-east"}  # fmt: skip
        detail = {"alarm": _alarm(), "rule": None, "handling": None, "evidence": [file],
                  "history": []}  # fmt: skip
        rig.gateway.answers |= {
            "alarm.detail": detail,
            "evidence": {"path": str(place), "bytes": len(content),
                         "media_type": "video/x-msvideo"},
        }  # fmt: skip
        rig.wait_watching()
        sections = {"work": {"DH-17": _permit("DH-17", "泵区", watched=True),
                             "DH-18": _permit("DH-18", "泵房", watched=False)}}  # fmt: skip
        rig.push({"kind": "state", "ok": True, "revision": 2, "time_ns": 1, "site": {
                  "gateway": "SD-1"}, "alarms": [_alarm()], "alarm_count": {"total": 1},
                  "sections": sections})  # fmt: skip
        host, port = rig.address
        page = browser.open(f"http://{host}:{port}/alarms")
        page.until("document.querySelector('[name=user]')")
        if page.evaluate("document.documentElement.lang") == "en":
            page.click("中文")
            page.until("document.documentElement.lang === 'zh-CN'")
        page.fill(user="issuer", password=PASSWORD)
        page.click("登录")
        page.click("unit1-east", "tbody tr")
        page.until("document.querySelector('[data-act=clip]')")
        page.evaluate("document.querySelector('[data-act=clip]').click()")
        page.until("document.querySelector('.clip img').naturalWidth === 320")
        page.until(f"document.querySelector('.clip input').value === '{FRAMES - 1}'")
        page.until("document.querySelector('[data-act=clip]').innerText === '播放'")
        page.until_text("3.0 / 3.0 秒")
        page.evaluate("document.querySelector('.clip').scrollIntoView()")
        page.picture(tmp_path / "clip.png")
        page.go(f"http://{host}:{port}/work")
        page.until_text("DH-17", "DH-18", "区域未配置，不受监视")
        marked = "document.querySelectorAll('tbody .bad, tbody .mark.bad').length"
        assert page.evaluate(marked) >= 1
        page.click("DH-18", "tbody tr")
        page.until_text("没有区域“泵房”")
        page.picture(tmp_path / "work.png")
        assert browser.complaints == []
