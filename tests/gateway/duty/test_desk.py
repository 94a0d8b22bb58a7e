"""Escalation along the roster, case by case."""

from __future__ import annotations

from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Roster
from gateway.duty.tell import Flood, Kind
from gateway.model.alarm import AlarmState
from tests.gateway.duty.duty_rig import Rig, alarm, changed, notes, people, shift, tells

ACKNOWLEDGED, RETURNED = AlarmState.ACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED


def test_step_after_step_is_told_until_somebody_acknowledges() -> None:
    rig = Rig()
    first = rig.feed(alarm())
    assert people(first) == ["an", "bo"]
    for one in tells(first):
        assert rig.sent(one.id) == []
    assert rig.advance(59.9) == []
    second = rig.advance(0.2)
    assert [(one.recipient.person, one.step, one.round) for one in tells(second)] == [
        ("chen", 2, 1)
    ]
    ended = rig.feed(changed(alarm(), ACKNOWLEDGED, "王芳"))
    assert notes(ended) == ["notify.ended"]
    assert rig.advance(10_000) == []
    assert rig.stored == {}


def test_rounds_are_bounded_and_the_end_is_said() -> None:
    rig = Rig(policy=CallPolicy(rounds=2))
    told = tells(rig.feed(alarm()))
    said: list[str] = []
    for _ in range(20):
        for one in told:
            rig.sent(one.id)
        more = rig.advance(60)
        told, said = tells(more), said + notes(more)
    assert said == ["notify.exhausted"]
    assert rig.desk.calls()[0].round == 2
    assert rig.stored  # not forgotten: nobody has acknowledged
    assert notes(rig.feed(changed(alarm(), ACKNOWLEDGED))) == ["notify.ended"]


def test_a_step_that_nobody_could_be_reached_of_is_followed_at_once() -> None:
    rig = Rig()
    horn, sms = tells(rig.feed(alarm()))
    assert rig.sent(horn.id, reached=False) == []
    assert people(rig.sent(sms.id, reached=False)) == ["chen"]
    again = rig.advance(5)
    assert [(one.id, one.attempt) for one in tells(again)] == [(horn.id, 2), (sms.id, 2)]
    assert rig.sent(horn.id) == []


def test_while_nobody_can_be_reached_it_is_tried_for_ever_and_no_round_counts() -> None:
    rig = Rig(policy=CallPolicy(rounds=1))
    pending = tells(rig.feed(alarm()))
    attempts = 0
    for _ in range(400):
        for one in pending:
            attempts += 1
            pending = tells(rig.sent(one.id, reached=False)) + tells(rig.advance(1))
            break
        else:
            pending = tells(rig.advance(1))
    assert attempts > 10
    assert len(rig.desk.calls()[0].tellings) < 30
    (call,) = rig.desk.calls()
    assert call.rounds_told == 0
    for waiting in list(call.waiting()):
        rig.sent(waiting.id)
    assert "notify.exhausted" in notes(rig.advance(600))


def test_where_nobody_is_on_duty_it_is_said_once_and_tried_until_somebody_is() -> None:
    rig = Rig(Roster((shift(1, "an@horn", start=8 * 60, end=20 * 60),)))  # it is 23:06
    assert notes(rig.feed(alarm())) == ["notify.nobody"]
    night = rig.advance(8 * 3600)
    assert (people(night), notes(night)) == ([], [])
    morning = rig.advance(3600)
    assert people(morning) == ["an"]


def test_a_return_is_told_once_to_those_who_know_and_the_call_goes_on_if_it_comes_back() -> None:
    rig = Rig()
    for one in tells(rig.feed(alarm())):
        rig.sent(one.id)
    back = tells(rig.feed(changed(alarm(), RETURNED)))
    assert [(one.recipient.person, one.kind) for one in back] == [
        ("an", Kind.RETURNED), ("bo", Kind.RETURNED),
    ]  # fmt: skip
    assert people(rig.advance(60)) == ["chen"]  # nobody has acknowledged
    anew = alarm(2, source="gds/1")
    assert [(t.recipient.person, t.kind, t.returned) for t in tells(rig.feed(anew))] == [
        ("an", Kind.ALARM, False), ("bo", Kind.ALARM, False),
    ]  # fmt: skip
    flaps = [rig.feed(changed(anew, RETURNED)), rig.feed(alarm(3, source="gds/1"))]
    assert flaps == [[], []]
    assert rig.feed(changed(alarm(), ACKNOWLEDGED)) == []  # its earlier id
    assert notes(rig.feed(changed(alarm(3, source="gds/1"), ACKNOWLEDGED))) == ["notify.ended"]


def test_what_comes_back_after_all_rounds_were_told_is_told_in_rounds_again() -> None:
    """@example: from its third raise on an alarm that nobody acknowledges was told to nobody."""
    rig = Rig()
    for number in range(2, 8):
        told: list[str] = []
        pending = rig.feed(alarm(number, source="gds/1"))
        for _ in range(100):
            for one in tells(pending):
                told.append(one.recipient.person)
                rig.sent(one.id)
            pending = rig.advance(60)
            if "notify.exhausted" in notes(pending):
                break
        assert told == ["an", "bo", "chen", "da"] * 3, number
        back = tells(rig.feed(changed(alarm(number, source="gds/1"), RETURNED)))
        assert {one.kind for one in back} == {Kind.RETURNED}, number
        for one in back:
            rig.sent(one.id)
        rig.advance(86_400)
        if number == 4:
            rig.restart(away_s=60)


def test_what_comes_back_after_its_flood_is_over_is_told_by_itself() -> None:
    """@example: it joined the call of a flood of last week, of which nobody was told any more."""
    rig = Rig()
    for one in tells(rig.flood(begins=True)):
        rig.sent(one.id)
    for number in (1, 2):
        rig.feed(alarm(number, priority=2))
        rig.feed(changed(alarm(number, priority=2), RETURNED))
    rig.flood(begins=False)
    rig.advance(86_400)
    assert people(rig.feed(alarm(11, priority=2, source="gds/1"))) == ["an", "bo"]
    again = rig.feed(alarm(12, priority=2, source="gds/2"))
    assert people(again) == ["an", "bo"]
    assert notes(again) == ["notify.ended"]  # nothing of the flood is left
    assert people(rig.feed(alarm(12, priority=2, source="gds/2"))) == []


def test_what_is_put_aside_calls_nobody() -> None:
    for state in (AlarmState.SHELVED, AlarmState.SUPPRESSED_BY_DESIGN, AlarmState.OUT_OF_SERVICE):
        rig = Rig()
        rig.feed(alarm())
        assert notes(rig.feed(changed(alarm(), state))) == ["notify.ended"]
        assert rig.advance(1000) == []
        again = rig.feed(changed(alarm(), AlarmState.UNACKNOWLEDGED_ACTIVE))
        assert people(again) == ["an", "bo"]  # it is back from the shelf


def test_a_declared_test_reaches_nobody_as_real() -> None:
    rig = Rig()
    assert rig.feed(alarm(declaration="d1")) == []
    assert rig.advance(10_000) == []
    marked = Rig(policy=CallPolicy(tell_tests=True))
    told = tells(marked.feed(alarm(declaration="d1")))
    assert {one.kind for one in told} == {Kind.TEST}
    for one in told:
        marked.sent(one.id)
    assert marked.advance(10_000) == []
    real = marked.feed(alarm())  # it stands on after the end of the test
    assert {one.kind for one in tells(real)} == {Kind.ALARM}


def test_low_priorities_call_nobody() -> None:
    rig = Rig(policy=CallPolicy(priority=2))
    assert rig.feed(alarm(priority=3)) == []
    assert people(rig.feed(alarm(2, priority=2))) == ["an", "bo"]


def test_the_failure_of_a_notifier_is_not_told_by_it() -> None:
    rig = Rig()
    told = tells(rig.feed(alarm(source="notifier/horn")))
    assert [one.recipient.notifier for one in told] == ["sms"]
    only = Rig(Roster((shift(1, "an@horn"),)))
    assert notes(only.feed(alarm(source="notifier/horn"))) == ["notify.nobody"]


def test_a_flood_is_told_as_one_and_the_most_urgent_apart() -> None:
    rig = Rig(policy=CallPolicy(through_most=2))
    (start, _) = begun = tells(rig.flood("p1", begins=True))
    assert start.kind is Kind.FLOOD
    for one in begun:
        rig.sent(one.id)
    for number in range(1, 101):
        assert rig.feed(alarm(number, priority=2), "p1") == []
    assert people(rig.feed(alarm(200), "p1")) == ["an", "bo"]
    assert people(rig.feed(alarm(201), "p1")) == ["an", "bo"]
    assert rig.feed(alarm(202), "p1") == []
    assert people(rig.feed(alarm(300, priority=2), "p2")) == ["an", "bo"]  # another position
    digest = [one for one in tells(rig.advance(60)) if isinstance(one.subject, Flood)]
    first = digest[0].subject
    assert isinstance(first, Flood)
    assert (first.alarms, first.urgent, len(first.first)) == (101, 1, 5)
    assert len(rig.stored) > 100
    rig.restart()
    for number in [*range(1, 101), 202]:
        rig.feed(changed(alarm(number, priority=2), ACKNOWLEDGED), "p1")
    assert [call.key[:5] for call in rig.desk.calls() if call.flood] == []


def test_a_flood_that_is_over_is_told_and_calls_on_until_all_of_it_is_acknowledged() -> None:
    rig = Rig()
    for one in tells(rig.flood(begins=True)):
        rig.sent(one.id)
    rig.feed(alarm(1, priority=2))
    over = tells(rig.flood(begins=False))
    assert {one.kind for one in over} == {Kind.FLOOD_OVER}
    assert people(rig.advance(61))[-1] == "chen"
    ended = rig.feed(changed(alarm(1, priority=2), ACKNOWLEDGED))
    assert notes(ended) == ["notify.ended"]


def test_a_restart_tells_what_was_under_way_again_marked_and_nothing_else() -> None:
    rig = Rig()
    horn, sms = tells(rig.feed(alarm()))
    rig.sent(horn.id)
    (again,) = tells(rig.restart(away_s=10))
    assert (again.id, again.repeated, again.attempt) == (sms.id, True, 1)
    rig.sent(again.id)
    assert rig.restart(away_s=10) == []
    assert rig.advance(39) == []
    assert people(rig.advance(2)) == ["chen"]
    rig.restart(away_s=10**6)  # long away: at most the waiting time passes
    rig.sent(next(iter(rig.desk.calls()[0].waiting())).id)
    assert people(rig.advance(600)) != []


def test_a_state_that_cannot_be_read_is_named() -> None:
    rig = Rig()
    rig.feed(alarm())
    rig.stored = dict.fromkeys(rig.stored, b"{}")
    rig.desk = type(rig.desk)(rig.roster, rig.policy)
    assert rig.desk.restore(rig.stored, **rig.times) == []
    assert any("not known any more" in said for said in rig.desk.complaints)


def test_alarms_that_stand_when_the_roster_is_new_are_told_many_as_one() -> None:
    rig = Rig()
    standing = [alarm(n, priority=2) for n in range(1, 6)]
    outputs = rig.desk.begin(standing, lambda _source: "", **rig.times)
    assert len(tells(outputs)) == 10
    assert rig.desk.begin(standing, lambda _source: "", **rig.times) == []
    many = Rig()
    standing = [alarm(n, priority=2) for n in range(1, 500)]
    outputs = many.desk.begin(standing, lambda _source: "", **many.times)
    assert len(tells(outputs)) == 2
    assert len(many.desk.members(many.desk.calls()[0].key)) == 499
