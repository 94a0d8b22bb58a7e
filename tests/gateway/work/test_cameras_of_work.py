"""What cameras do to the watch over work: blind until pictures come, and each zone its own work."""

from __future__ import annotations

from gateway.work.site import Area, WorkSite
from tests.gateway.work.scene import AREA, SITE, Scene


def test_a_covered_lens_stays_covered_though_the_camera_was_lost_and_came_back() -> None:
    """The cable is pulled for a moment; what is before the lens is there still."""
    scene = Scene()
    scene.start()
    scene.event("vision.view", "cam", view="covered")
    scene.wait(6)
    scene.event("vision.camera_lost", "cam", reason="no route to the camera")
    scene.event("vision.camera_recovered", "cam")
    scene.keep_well(30)
    assert scene.standing() == {"camera_blind"}
    scene.event("vision.view", "cam", view="clear")
    scene.keep_well(10)
    assert scene.standing() == set()


def test_a_process_that_dies_again_and_again_leaves_the_work_unwatched() -> None:
    """It starts, dies over the first picture, and starts: it has seen nothing."""
    scene = Scene()
    scene.start()
    for _ in range(5):
        scene.event("vision.worker_lost", "cam")
        scene.wait(2)
        scene.event("vision.started", "cam", standing="")
        scene.wait(2)
    assert scene.raised() == ["camera_blind"]
    scene.event("vision.delivering", "cam", view="doubtful")
    scene.keep_well(10)
    assert scene.standing() == set()


def test_a_process_that_begins_anew_with_a_clear_view_ends_what_was_before_its_lens() -> None:
    scene = Scene()
    scene.start()
    scene.event("vision.view", "cam", view="covered")
    scene.wait(6)
    scene.event("vision.worker_lost", "cam")
    scene.event("vision.started", "cam", standing="")
    scene.event("vision.delivering", "cam", view="doubtful")
    scene.keep_well(10)
    assert scene.standing() == {"camera_blind"}
    scene.event("vision.delivering", "cam", view="clear")
    scene.keep_well(10)
    assert scene.standing() == set()


def test_a_helmet_missing_in_another_areas_zone_is_not_this_works() -> None:
    """One camera, two works: the permit of each is told of its own zone."""
    other = Area(name="scaffold", cameras=("cam",), counts=("cam/guard.headcount",))
    scene = Scene(site=WorkSite((AREA, other), SITE.devices, SITE.holds))
    scene.start()
    said = {"people": 1, "limit": 0, "active": True}
    scene.event("vision.no_helmet", "cam", zone="guard", **said)
    scene.keep_well(10)
    assert scene.raised() == []
    scene.event("vision.no_helmet", "cam", zone="gate", **said)
    scene.keep_well(10)
    assert scene.raised() == ["ppe_missing"], "a zone that no area claims is everybody's"


def test_a_missing_helmet_outlives_a_restart_of_the_gateway() -> None:
    """The camera's process is told what stands and does not raise it again: it says so at start."""
    scene = Scene()
    scene.start()
    said = {"people": 1, "limit": 0}
    scene.event("vision.no_helmet", "cam", zone="yard", active=True, **said)
    assert scene.raised() == ["ppe_missing"]
    scene.restart()
    scene.event("vision.started", "cam", standing="yard/no_helmet\nyard\nyard/empty")
    scene.keep_well(120)
    assert scene.standing() == {"ppe_missing"}
    scene.event("vision.no_helmet", "cam", zone="yard", active=False, **said)
    scene.keep_well(120)
    assert scene.standing() == set()


def test_a_missing_helmet_of_a_zone_that_is_gone_ends_with_it() -> None:
    scene = Scene()
    scene.start()
    scene.event("vision.no_helmet", "cam", zone="yard", active=True, people=1, limit=0)
    scene.event("intake.picture", "ai-box", alarm="no_vest", camera="cam")
    scene.event("vision.started", "cam", standing="other/no_helmet")
    scene.event("vision.started", "cam", standing="")
    scene.keep_well(120)
    assert scene.standing() == set()
