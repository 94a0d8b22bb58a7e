"""From a register or a picture to the receiver's alarm list, over restarts and kills."""

from __future__ import annotations

import hashlib
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.clips import clip_or_fail
from tests.e2e.plant import Plant
from tests.e2e.watched import Watched, stop_clean
from tests.e2e.world import stop, until

pytestmark = pytest.mark.e2e
ACTIVE, RETURNED = "unacknowledged_active", "returned_unacknowledged"


def alarms(world: Watched, count: int) -> list[dict[str, Any]]:
    """The alarm records at the receiver, once there are so many."""
    until(
        lambda: len(world.notices("alarms")) >= count, what=f"{count} alarm records at the receiver"
    )
    return world.notices("alarms")


def test_a_limit_is_crossed_and_returns_under_one_id(tmp_path: Path) -> None:
    with Plant(4) as plant, Watched(tmp_path) as world:
        world.write_device(plant.port, "AT-101,holding,0,u16,,25", "PT-7,holding,1,u16,5,")
        plant.set(1, 9)
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 0, what="values flow")
        plant.set(0, 31)
        [raised] = alarms(world, 1)
        assert (raised["source"], raised["condition"]) == ("gds/AT-101", "high")
        assert (raised["state"], raised["value"], raised["limit"]) == (ACTIVE, 31, 25)
        assert raised["quality"] == "good"
        assert "31" in raised["text"]
        plant.set(1, 2)
        plant.set(0, 24)
        until(lambda: world.metric("flow_alarms_returned") == 1, what="it returned")
        _, *later = alarms(world, 3)
        states = {(one["source"], one["state"]): one for one in later}
        back = states["gds/AT-101", RETURNED]
        assert (back["alarm_id"], back["value"], back["limit"]) == (raised["alarm_id"], 24, 25)
        assert states["gds/PT-7", ACTIVE]["condition"] == "low"
        assert world.metric("flow_alarms_standing") == 1
        stop_clean(world, gateway)


def test_an_alarm_survives_a_kill_and_returns_under_its_id(tmp_path: Path) -> None:
    with Plant(4) as plant, Watched(tmp_path) as world:
        world.write_device(plant.port, "AT-101,holding,0,u16,,25")
        world.start_receiver()
        gateway = world.start_gateway()
        plant.set(0, 31)
        [raised] = alarms(world, 1)
        stop(gateway, signal.SIGKILL)
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 3, what="values flow again")
        assert world.metric("flow_alarms_standing") == 1
        assert world.metric("flow_alarms_raised") == 0
        stop(gateway, signal.SIGKILL)
        plant.set(0, 3)  # it returns while nobody reads
        gateway = world.start_gateway()
        again, back = alarms(world, 2)
        assert again == raised
        assert (back["state"], back["value"]) == (RETURNED, 3)
        assert back["alarm_id"] == raised["alarm_id"]
        until(lambda: world.metric("flow_values") > 3, what="values flow again")
        assert len(world.notices("alarms")) == 2
        stop_clean(world, gateway)


def test_a_limit_taken_out_of_the_table_closes_its_alarm(tmp_path: Path) -> None:
    with Plant(4) as plant, Watched(tmp_path) as world:
        world.write_device(plant.port, "AT-101,holding,0,u16,,25")
        world.start_receiver()
        gateway = world.start_gateway()
        plant.set(0, 31)
        [raised] = alarms(world, 1)
        stop_clean(world, gateway)
        world.write_device(plant.port, "AT-101,holding,0,u16,,")
        gateway = world.start_gateway()
        _, closed = alarms(world, 2)
        assert (closed["state"], closed["alarm_id"]) == (RETURNED, raised["alarm_id"])
        assert "removed from the configuration" in closed["text"]
        stop_clean(world, gateway)


def picture_of_first(world: Watched) -> Path | None:
    """File of the first alarm's JPEG at the receiver; its clip and others may lie beside it."""
    for digest in world.notices("alarms")[0]["evidence"].split():
        file: Path = world.store / "evidence" / digest[:2] / digest
        if file.is_file():
            content = file.read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
            if content.startswith(b"\xff\xd8\xff"):
                return file
    return None


def test_too_many_people_are_an_alarm_with_its_picture(tmp_path: Path) -> None:
    clip = clip_or_fail()
    camera = f"""
[[camera]]
name = "east"
source = "{clip}"
analyse_fps = 2
[[camera.zone]]
name = "yard"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
max_people = 2
hold_s = 0.5
"""
    with Watched(tmp_path) as world:
        world.write_site(camera)
        world.start_receiver()
        gateway = world.start_gateway()
        [raised, *_] = alarms(world, 1)
        assert (raised["source"], raised["condition"]) == ("east/yard", "over_count")
        assert (raised["state"], raised["limit"], raised["unit"]) == (ACTIVE, 2, "people")
        assert raised["value"] > 2
        until(lambda: world.notices("alarms")[0]["evidence"], what="it has evidence")
        picture = until(lambda: picture_of_first(world), what="the picture is there")
        assert picture is not None
        attached = [e for e in world.notices("events") if e["kind"] == "evidence_attached"]
        assert any(picture.name[:16] in one["text"] for one in attached)
        assert uuid.UUID(raised["alarm_id"]).int != 0
        counted = [row.value for row in world.query("--point", "east/yard.headcount")]
        assert max(counted) > 2

        stop(gateway, signal.SIGKILL)  # the zone is taken away while the alarm stands
        world.write_site(camera.replace('"yard"', '"gate"').replace("max_people = 2\n", ""))
        gateway = world.start_gateway()
        until(lambda: any(one["state"] == RETURNED for one in world.notices("alarms")),
              what="the alarm of the removed zone is closed")  # fmt: skip
        [closed] = [one for one in world.notices("alarms") if one["state"] == RETURNED]
        assert closed["alarm_id"] == raised["alarm_id"]
        stop_clean(world, gateway)
