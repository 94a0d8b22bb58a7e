"""Rates, keys and tokens: pure parts of the HTTP intake."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intake_http.config import HttpIntakeConfig, split_address
from drivers.intake_http.limits import Keys, RateLimit, Turn
from drivers.intake_http.senders import SendersError, bearer, parse_senders

S = 1_000_000_000


@given(st.lists(st.integers(0, 3 * S), max_size=60))
def test_never_more_than_burst_and_rate(waits: list[int]) -> None:
    limit, now, passed = RateLimit(2.0, 3), 0, 0
    for wait in waits:
        now += wait
        passed += limit.take("a", now) == 0
        assert passed <= 3 + 2 * now / S + 1e-6


def test_a_refused_sender_learns_when_and_others_are_not_slowed() -> None:
    limit = RateLimit(2.0, 1)
    assert limit.take("a", 0) == 0
    assert limit.take("a", 0) == pytest.approx(0.5)
    assert limit.take("b", 0) == 0
    assert limit.take("a", S // 2) == 0


def test_a_key_is_new_then_under_way_then_replayed() -> None:
    keys = Keys()
    assert keys.begin("a", "k", b"1") == (Turn.NEW, b"")
    assert keys.begin("a", "k", b"1") == (Turn.UNDER_WAY, b"")
    assert keys.begin("b", "k", b"2") == (Turn.NEW, b"")
    keys.end("a", "k", b"answer")
    assert keys.begin("a", "k", b"1") == (Turn.REPLAY, b"answer")
    assert keys.begin("a", "k", b"2") == (Turn.OTHER_BODY, b"")
    keys.end("b", "k", None)
    assert keys.begin("b", "k", b"3") == (Turn.NEW, b"")


def test_keys_are_bounded() -> None:
    keys = Keys()
    for number in range(5000):
        assert keys.begin("a", str(number), b"") == (Turn.NEW, b"")
        keys.end("a", str(number), b"x" * 10_000)
    assert keys.begin("a", "0", b"")[0] is Turn.NEW
    assert keys.begin("a", "4999", b"")[0] is Turn.REPLAY


def test_tokens_name_their_sender() -> None:
    senders = parse_senders("# who\nboiler aaaaaaaaaaaaaaaa\n\ntickets bbbbbbbbbbbbbbbb\n")
    assert senders.who("bbbbbbbbbbbbbbbb") == "tickets"
    assert senders.who("bbbbbbbbbbbbbbbc") is None
    assert senders.who("") is None
    assert senders.who("中") is None
    assert senders.who("\ud800") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("a b c", "line 1 is not `name token`"),
        ("a short", "line 1: the token of a must have 16 to 512"),
        ("a aaaaaaaaaaaaaaaa\nb aaaaaaaaaaaaaaaa", "line 2: b has the token of a"),
    ],
)
def test_a_wrong_file_of_tokens_is_named_without_the_token(text: str, said: str) -> None:
    with pytest.raises(SendersError, match=said) as caught:
        parse_senders(text)
    assert "aaaa" not in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("", None), (None, None),
     ("Bearer ", None), ("Bearer " + "x" * 600, None)],
)  # fmt: skip
def test_bearer(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:8480", "0.0.0.0:0", "localhost:1"])
def test_addresses(text: str) -> None:
    host, port = split_address(text)
    assert host in text
    assert str(port) in text


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"listen": "8480"}, "is no address such as"),
        ({"listen": "gateway:8480"}, "is no address such as"),
        ({"listen": "127.0.0.1:70000"}, "is no address such as"),
        ({"listen": "127.0.0.1:80"}, "anybody could hand in"),
        ({"listen": "0.0.0.0:80", "tokens": "t"}, "reachable from other machines in clear text"),
        ({"listen": "127.0.0.1:80", "tokens": "t", "key": "k"}, "belong together"),
        ({"listen": "127.0.0.1:80", "client_ca": "c"}, "client_ca needs TLS"),
    ],
)
def test_an_unsafe_entry_is_refused(keys: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HttpIntakeConfig.model_validate_json(json.dumps(keys))
