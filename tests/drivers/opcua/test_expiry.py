"""Certificates that end soon are told in time, once a day, and not what was renewed."""

from __future__ import annotations

from drivers.opcua.events import EventMaker
from drivers.opcua.expiry import DAY_NS, OURS, SERVERS, SOON_DAYS, USERS, ExpiryWatch

NOW_NS = 1_800_000_000 * 10**9


def test_each_is_told_from_thirty_days_before_once_a_day() -> None:
    watch = ExpiryWatch()
    ends = {OURS: NOW_NS + SOON_DAYS * DAY_NS, SERVERS: NOW_NS + (SOON_DAYS + 1) * DAY_NS}
    assert watch.feed(ends, NOW_NS - 1) == []
    assert watch.feed(ends, NOW_NS) == [OURS]
    assert watch.feed(ends, NOW_NS + DAY_NS - 1) == []
    assert watch.feed(ends, NOW_NS - DAY_NS + 1) == [], "a clock that stepped back"
    assert watch.feed(ends, NOW_NS + DAY_NS) == [OURS, SERVERS]


def test_a_renewed_one_and_another_servers_are_judged_by_themselves() -> None:
    watch = ExpiryWatch()
    assert watch.feed({SERVERS: NOW_NS + DAY_NS}, NOW_NS) == [SERVERS]
    assert watch.feed({SERVERS: NOW_NS + 2 * DAY_NS}, NOW_NS) == [SERVERS], "of a stand-by"
    assert watch.feed({SERVERS: NOW_NS + DAY_NS}, NOW_NS) == [], "back to the first"
    assert watch.feed({SERVERS: NOW_NS + 900 * DAY_NS}, NOW_NS) == []


def test_the_sentence_says_whose_when_and_what_to_do_in_both_languages() -> None:
    events = EventMaker("dcs", "")
    soon = events.certificate(NOW_NS, OURS, NOW_NS + 9 * DAY_NS)
    assert soon.text == (
        "dcs: our certificate ends on 2027-01-24, in 9 days: renew it and have the server trust the"
        " new one, else nothing is read after the next connect"
        " 本网关证书将于2027-01-24到期，剩余9天：请更换并让服务器信任新证书，"
        "否则重新连接后无法采集."
    )
    assert soon.attributes == {"whose": OURS, "until": "2027-01-24", "days": 9}
    ended = events.certificate(NOW_NS, SERVERS, NOW_NS - 1)
    assert "dcs: the server's certificate ended on 2027-01-15: have it renewed" in ended.text
    assert "服务器证书已于2027-01-15过期" in ended.text
    assert "the user's certificate" in events.certificate(NOW_NS, USERS, NOW_NS).text
