"""Health: one word for all parts."""

from __future__ import annotations

import json

import pytest

from gateway.observe.health import Health, State


def fine() -> tuple[bool, str]:
    return True, "stores"


def down() -> tuple[bool, str]:
    return False, "no connection"


def test_without_parts_it_is_ok() -> None:
    assert Health().report().state is State.OK


@pytest.mark.parametrize(
    ("buffer", "uplink", "state"),
    [
        (fine, fine, State.OK),
        (fine, down, State.DEGRADED),
        (down, fine, State.FAILED),
        (down, down, State.FAILED),
    ],
)
def test_one_word_for_all(buffer: object, uplink: object, state: State) -> None:
    health = Health()
    health.register("buffer", buffer, vital=True)  # type: ignore[arg-type]  # parametrised
    health.register("uplink", uplink)  # type: ignore[arg-type]  # parametrised
    assert health.report().state is state


def test_nothing_well_is_failed_though_nothing_is_vital() -> None:
    health = Health()
    health.register("uplink", down)
    assert health.report().state is State.FAILED


def test_it_says_what_is_wrong() -> None:
    health = Health()
    health.register("buffer", fine)
    health.register("uplink_省", down)
    report = health.report()
    assert report.sentence() == "degraded: uplink_省: no connection"
    assert json.loads(report.to_json()) == {
        "state": "degraded",
        "components": {
            "buffer": {"ok": True, "text": "stores"},
            "uplink_省": {"ok": False, "text": "no connection"},
        },
    }


def test_a_check_that_fails_is_not_well() -> None:
    def broken() -> tuple[bool, str]:
        raise OSError("disk gone")

    health = Health()
    health.register("buffer", broken)
    assert health.report().parts["buffer"] == (False, "its check failed: OSError: disk gone")


def test_a_name_is_given_once() -> None:
    health = Health()
    health.register("buffer", fine)
    with pytest.raises(ValueError, match="already"):
        health.register("buffer", fine)
