"""What the monitor does over time: people, cameras, devices, restarts, records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.rules.open_alarm import StateError
from gateway.work.page import page
from gateway.work.permit import PermitError
from tests.gateway.work.scene import AREA, HOUR, SITE, S, Scene, at, iso


def test_the_grade_is_raised_at_night_before_a_holiday() -> None:
    night = at("2026-09-30 22:30:00")
    scene = Scene(now_ns=night)
    scene.permit(status="approved", plan_start=iso(night), plan_end=iso(night + 2 * HOUR))
    event = scene.events("work.level_raised")[0]
    assert all(word in event.text for word in ("night", "holiday", "特级"))
    assert event.attributes["rule"] == "hot_work.upgrade/1"
    scene.gas(5)
    scene.all_well()
    scene.permit(status="active", plan_start=iso(night), plan_end=iso(night + 2 * HOUR))
    scene.value("nvr/rec", 0.0)
    scene.wait(5)
    assert scene.raised() == ["recording_stopped"]  # special grade: the whole process is recorded


def test_a_grade_that_the_site_raised_itself_is_not_raised_again() -> None:
    scene = Scene(now_ns=at("2026-09-30 22:30:00"))
    scene.permit(status="approved", upgraded=True)
    assert scene.events("work.level_raised") == []


def test_the_guardian_leaves_for_longer_than_the_hold() -> None:
    area = replace(AREA, guardian="cam/guard.headcount")
    scene = Scene(site=replace(SITE, areas=(area,)))
    scene.start()
    scene.value("cam/guard.headcount", 0.0)
    scene.wait(29)
    scene.value("cam/guard.headcount", 1.0)
    scene.wait(1)
    scene.value("cam/guard.headcount", 0.0)
    scene.wait(29.999)
    assert scene.raised() == []
    scene.value("cam/guard.headcount", 0.0)
    scene.wait(0.001)
    assert scene.raised() == ["guardian_absent"]
    assert scene.alarm("guardian_absent").change.rule == "work.guardian/1"
    assert "4.10" in scene.alarm("guardian_absent").change.text
    assert len(scene.events("work.stop_recommended")) == 1


def test_the_guardians_card_is_elsewhere() -> None:
    scene = Scene()
    scene.start(guardian_card="C7")
    scene.event("intake.position", "uwb", card="C7", area="泵区")
    scene.keep_well(60)
    assert scene.raised() == []
    scene.event("intake.position", "uwb", card="C7", area="canteen")
    scene.wait(30)
    assert scene.raised() == ["guardian_absent"]
    scene.event("intake.position", "uwb", card="C7", area="pump-yard")
    scene.keep_well(10, 5)
    assert scene.standing() == set()


def test_a_late_position_does_not_replace_a_newer_one() -> None:
    scene = Scene()
    scene.start(guardian_card="C7")
    scene.event("intake.position", "uwb", card="C7", area="泵区")
    scene.event("intake.position", "uwb", scene.now_ns - S, card="C7", area="canteen")
    scene.keep_well(60)
    assert scene.raised() == []


def test_the_guardians_card_falls_silent_while_others_report() -> None:
    """@example: a guardian whose card was switched off hours ago was still counted as there."""
    scene = Scene()
    scene.start(guardian_card="C7")
    scene.event("intake.position", "uwb", card="C7", area="泵区")
    for _ in range(33):
        scene.event("intake.position", "uwb", card="C8", area="泵区")
        scene.keep_well(10)
    assert scene.standing() == {"guardian_absent"}
    assert "silent" in scene.alarm("guardian_absent").change.text
    scene.event("intake.position", "uwb", card="C7", area="泵区")
    scene.keep_well(10, 5)
    assert scene.standing() == set()


def test_positioning_that_is_silent_as_a_whole_misses_nobody() -> None:
    scene = Scene()
    scene.start(guardian_card="C7")
    scene.event("intake.position", "uwb", card="C7", area="泵区")
    scene.event("intake.position", "uwb", card="C8", area="泵区")
    scene.keep_well(1800)
    assert scene.raised() == []


def test_a_source_whose_clock_was_set_back_is_heard_again() -> None:
    """@example: a server's clock corrected by 8 h left the gas unwatched for 8 h."""
    scene = Scene()
    scene.start()
    scene.now_ns += 8 * HOUR  # what the source says from here on is ahead
    scene.value("gds/AT-1", 1.0)
    scene.event("intake.position_count", "uwb", area="泵区", people=2)
    scene.now_ns -= 8 * HOUR
    scene.value("gds/AT-1", 60.0)
    assert scene.raised() == []  # one that is merely late
    for _ in range(4):
        scene.value("gds/AT-1", 60.0)
        scene.event("intake.position_count", "uwb", area="泵区", people=9)
        scene.wait(5)
    assert scene.standing() == {"gas_over", "too_many_people"}


def test_a_camera_that_stays_blind_tells_its_later_and_truer_reason() -> None:
    """@example: the record said "covered" of a camera whose cable was cut a minute later."""
    scene = Scene()
    scene.start()
    scene.event("vision.view", "cam", view="covered")
    scene.wait(5)
    scene.keep_well(60)
    scene.event("vision.camera_lost", "cam", reason="no route to the camera")
    scene.event("vision.camera_lost", "cam", reason="no route to the camera")
    scene.restart()
    scene.event("vision.camera_lost", "cam", reason="no route to the camera")
    scene.wait(1)
    scene.event("vision.camera_lost", "cam", reason="the login is refused")
    scene.event("vision.view", "cam", view="clear")
    scene.keep_well(20)
    assert scene.raised() == ["camera_blind"]
    scene.permit(status="ended", time_ns=scene.now_ns)
    scene.wait(120)
    record = scene.records()[-1].content
    (violation,) = record["violations"]
    assert [line["en"].rpartition(": ")[2] for line in violation["later"]] == [
        "no route to the camera", "the login is refused",
    ]  # fmt: skip
    assert record["recording_gaps"][0]["why"].endswith("the login is refused")
    assert [e["kind"] for e in record["timeline"]].count("reason") == 2
    assert "the login is refused" in page(record)


def test_the_seventh_person_is_told_by_camera_and_by_positioning() -> None:
    scene = Scene()
    scene.start()
    scene.value("cam/zone.headcount", 7.0)
    scene.event("intake.position_count", "uwb", area="泵区", people=8)
    scene.wait(2.9)
    assert scene.raised() == []
    scene.wait(0.1)
    alarm = scene.alarm("too_many_people").change
    assert (alarm.value, alarm.limit) == (8, 6)
    assert "cam/zone.headcount 7, positioning 泵区 8" in alarm.text


def test_a_helmet_seen_missing_merges_repeats_and_ends() -> None:
    scene = Scene()
    scene.start()
    for _ in range(4):
        scene.event("intake.picture", "ai-box", alarm="no_helmet", camera="cam")
        scene.wait(8)
    assert scene.raised() == ["ppe_missing"]
    scene.event("intake.picture", "ai-box", alarm="no_helmet", camera="elsewhere")
    scene.wait(20)
    assert scene.raised() == ["ppe_missing"]
    assert scene.standing() == set()


def test_a_helmet_that_our_own_camera_sees_missing_stands_until_no_zone_sees_it() -> None:
    scene = Scene()
    scene.start()

    def seen(zone: str, *, active: bool, item: str = "helmet") -> None:
        scene.event(f"vision.no_{item}", "cam", zone=zone, people=1, limit=0, active=active)

    seen("yard", active=True)
    seen("gate", active=True)
    assert scene.raised() == ["ppe_missing"]
    assert "without helmet" in scene.alarm("ppe_missing").change.text
    scene.wait(600)  # no picture of a vendor: it does not end by itself
    seen("gate", active=False)
    scene.wait(100)
    assert scene.standing() != set()
    seen("yard", active=False)
    scene.wait(100)
    assert scene.standing() == set()
    seen("yard", active=True, item="workwear")
    assert scene.raised() == ["ppe_missing", "ppe_missing"]
    assert "未佩戴工作服" in scene.alarms()[-1].change.text


def test_the_chinese_half_of_a_gas_alarm_calls_the_gas_by_its_chinese_name() -> None:
    scene = Scene()
    scene.start()
    scene.value("gds/AT-1", 30.0)
    text = scene.alarm("gas_over").change.text
    assert "methane is 30 %LEL" in text
    assert "甲烷 30 %LEL (1.5 %vol),不得超过 0.5 %vol" in text


def test_a_covered_camera() -> None:
    scene = Scene()
    scene.start()
    scene.event("vision.view", "cam", view="covered")
    scene.wait(4.9)
    assert scene.raised() == []
    scene.wait(0.1)
    assert scene.raised() == ["camera_blind"]
    assert "镜头被遮挡" in scene.alarm("camera_blind").change.text
    scene.event("vision.view", "cam", view="clear")
    scene.wait(5)
    assert scene.standing() == set()


def test_devices_of_the_permit_must_deliver_before_it_counts() -> None:
    scene = Scene()
    scene.permit(status="approved", camera="BKQ-7", detectors="PD-3")
    scene.gas(5)
    scene.permit(camera="BKQ-7", detectors="PD-3")
    assert scene.state() == "approved: device_missing"
    scene.value("ball/analysed_fps", 4.0)
    assert scene.state() == "approved: device_missing"
    scene.wait(60)
    assert scene.raised() == ["device_missing", "device_missing"]  # the ball fell silent
    scene.values({"ball/analysed_fps": 4.0, "port/LEL": 1.0})
    assert scene.state() == "active"
    scene.values({"ball/analysed_fps": 4.0, "port/LEL": 11.0})
    assert "gas_over" in scene.raised()  # the portable detector is bound for the permit's duration


def test_an_unknown_device_and_an_unknown_place_are_said() -> None:
    scene = Scene()
    scene.permit(status="approved", camera="NO-1", area="somewhere")
    scene.gas(1)
    scene.permit(camera="NO-1", area="somewhere")
    assert scene.raised() == ["device_unknown"]
    assert any("somewhere" in event.text for event in scene.events("work.not_judged"))
    assert [row["watched"] for row in scene.monitor.permits(scene.now)] == [False]


def test_work_without_approval() -> None:
    scene = Scene()
    scene.gas(5)
    scene.permit(status="active")
    assert scene.raised() == ["not_approved"]
    assert scene.state() == "received: not_approved"


def test_changed_worker_after_approval_needs_a_new_permit() -> None:
    scene = Scene()
    scene.start(worker="Li")
    scene.permit(worker="Wang", time_ns=scene.now_ns + 1)
    assert scene.raised() == ["changed_after_approval"]
    assert "4.16" in scene.alarm("changed_after_approval").change.text


def test_two_permits_in_one_area_name_each_other_or_are_told() -> None:
    scene = Scene()
    scene.start()
    scene.start("GC-2", work="height")
    assert scene.raised() == ["work_crossing"]
    named = Scene()
    named.start(related_tickets="GC-2")
    named.start("GC-2", work="height")
    assert named.raised() == []


def test_a_restart_neither_repeats_nor_forgets() -> None:
    scene = Scene()
    scene.start()
    scene.value("cam/zone.headcount", 9.0)
    scene.wait(4)
    scene.value("gds/AT-1", 30.0)
    assert scene.raised() == ["too_many_people", "gas_over"]
    scene.restart()
    scene.values({"cam/zone.headcount": 9.0, "gds/AT-1": 30.0})
    scene.wait(20)
    assert scene.raised() == ["too_many_people", "gas_over"]
    assert scene.state() == "active"
    scene.keep_well(10, 5)
    assert scene.standing() == set()
    scene.permit(status="ended")
    assert len(scene.records()[0].content["violations"]) == 2


def test_a_state_that_cannot_be_read_is_refused() -> None:
    for state in (b"{", b"{}", b'{"version": 9}', b'{"version":1,"jobs":[{}],"analyses":[]}'):
        with pytest.raises(StateError):
            Scene(restored=state)


def test_what_cannot_be_used_is_refused_with_a_sentence() -> None:
    scene = Scene()
    with pytest.raises(PermitError, match="ticket_no"):
        scene.event("intake.permit", work="hot_work", status="active")
    with pytest.raises(PermitError, match="no kind of special work"):
        scene.event("intake.permit", ticket_no="T", work="dancing", status="active")
    with pytest.raises(PermitError, match="needs permit and value"):
        scene.event("intake.gas_analysis", permit="T", gas="CH4", unit="%vol")


def test_the_record_has_everything_and_waits_for_its_evidence() -> None:
    scene = Scene()
    planned = iso(scene.now_ns)
    scene.start(worker="<b>Li & Co</b>", guardian="Zhang", plan_start=planned)
    scene.value("cam/zone.headcount", 9.0)
    scene.wait(4)
    alarm = scene.alarm("too_many_people")
    assert alarm.cameras == ("cam",)
    assert alarm.sheet["values"]["cam/zone.headcount"]["value"] == 9.0
    scene.monitor.expect(alarm.change.alarm_id, 2)
    scene.keep_well(60, 10)
    scene.outputs += scene.monitor.attach(alarm.change.alarm_id, "ab" * 32, "image/jpeg", scene.now)
    scene.permit(status="suspended")
    scene.now_ns += 10 * 60 * S
    scene.all_well()
    scene.permit(status="active", time_ns=scene.now_ns + 1)
    scene.permit(status="ended", time_ns=scene.now_ns + 2)
    assert scene.records() == []  # the clip is still awaited
    scene.outputs += scene.monitor.attach(alarm.change.alarm_id, "cd" * 32, "video/mp4", scene.now)
    (record,) = scene.records()
    content = record.content
    assert content["complete"] is True
    assert [len(v["evidence"]) for v in content["violations"]] == [2]
    assert content["breaks"][0]["minutes"] == 10.0
    assert content["values"]["cam/zone.headcount"]["most"] == 9.0
    assert [a["gas"] for a in content["analyses"]] == ["methane"]
    json.dumps(content, allow_nan=False)
    html = page(content)
    assert "2026-09-16 12:00:00" in html
    assert "T04:00" not in html  # plant time, as everywhere on the page
    assert "&lt;b&gt;Li &amp; Co&lt;/b&gt;" in html
    assert "<b>Li" not in html
    assert all(
        said in html for said in ("动火作业记录", "Work record", "动火 hot_work", "一级 first")
    )
    assert content["violations"][0]["evidence"][0]["sha256"][:16] in html


def test_a_record_does_not_wait_for_ever_and_says_what_is_missing() -> None:
    scene = Scene()
    scene.start()
    scene.value("cam/zone.headcount", 9.0)
    scene.wait(4)
    scene.monitor.expect(scene.alarm("too_many_people").change.alarm_id, 1)
    scene.permit(status="ended")
    scene.wait(59)
    assert scene.records() == []
    scene.wait(1)
    assert scene.records()[0].content["complete"] is False
    assert scene.records()[0].content["evidence_missing"] == 1


def test_a_late_version_after_the_record_makes_a_revision() -> None:
    scene = Scene()
    scene.start()
    scene.permit(status="ended")
    scene.permit(status="closed", time_ns=scene.now_ns + S)
    assert [record.revision for record in scene.records()] == [1, 2]
