"""The monitor under scripts of any kind: each violation once, whatever the order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.alarm import AlarmState
from gateway.work.outputs import WorkAlarm
from tests.gateway.work.scene import HOUR, S, Scene

SCRIPT = st.lists(
    st.one_of(
        st.tuples(st.just("people"), st.integers(0, 9)),
        st.tuples(st.just("gas"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("view"), st.sampled_from(["dark", "clear"])),
        st.tuples(st.just("helmet"), st.none()),
        st.tuples(st.just("status"), st.sampled_from(["suspended", "active", "ended"])),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("analysis"), st.floats(0, 1)),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(SCRIPT)
def test_a_violation_is_raised_once_while_it_stands_and_returns_once(
    script: list[tuple[str, object]],
) -> None:
    scene = Scene()
    scene.start()
    for what, value in script:
        _act(scene, what, value)
    standing: dict[tuple[str, str], bytes] = {}
    for output in scene.outputs:
        if not isinstance(output, WorkAlarm):
            continue
        change = output.change
        key = (change.source, change.condition)
        if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
            assert key not in standing, key
            standing[key] = change.alarm_id
        else:
            assert standing.pop(key) == change.alarm_id
    assert len(standing) == scene.monitor.standing
    if scene.state() in {"ended", "closed"}:
        assert not standing
        assert scene.records()


def _act(scene: Scene, what: str, value: object) -> None:
    scene.now_ns += 1
    match what, value:
        case "people", int(people):
            scene.value("cam/zone.headcount", float(people))
        case "gas", int(percent):
            scene.value("gds/AT-1", float(percent))
        case "wait", int(seconds):
            scene.wait(seconds)
        case "view", str(view):
            scene.event("vision.view", "cam", view=view)
        case "helmet", _:
            scene.event("intake.picture", "box", alarm="no_helmet", camera="cam")
        case "status", str(status):
            scene.permit(status=status)
        case "restart", _:
            scene.restart()
        case "analysis", float(percent):
            scene.gas(0, percent)
        case _:
            raise AssertionError(what)


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_a_reordered_script_ends_in_the_same_state(order: list[int]) -> None:
    def messages(scene: Scene) -> list[tuple[str, dict[str, object]]]:
        return [
            ("received", {"time_ns": scene.now_ns - 3 * HOUR}),
            ("approved", {"time_ns": scene.now_ns - 2 * HOUR}),
            ("active", {"time_ns": scene.now_ns - HOUR}),
            ("suspended", {"time_ns": scene.now_ns - HOUR // 2}),
            ("active", {"time_ns": scene.now_ns - HOUR // 4}),
        ]

    def played(order: list[int]) -> tuple[str, set[str], str]:
        scene = Scene()
        scene.all_well()
        listed = messages(scene)
        sampled = scene.now_ns - HOUR - 5 * 60 * S
        for number in order:
            if number == 5:
                scene.event("intake.gas_analysis", time_ns=sampled, permit="DH-1", gas="methane",
                            value=0.1, unit="%vol", id="a")  # fmt: skip
            else:
                status, more = listed[number]
                scene.permit(status=status, time_ns=int(str(more["time_ns"])))
        scene.all_well()
        scene.wait(30)
        return scene.state(), scene.standing(), str(scene.monitor.permits(scene.now)[0]["started"])

    assert played(order)[0] == played(list(range(6)))[0]
    assert played(order)[1:] == played(list(range(6)))[1:]
