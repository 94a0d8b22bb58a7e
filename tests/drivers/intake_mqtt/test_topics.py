"""Topic filters, and what a site file may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiomqtt import Topic
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.config import MqttIntakeConfig, check
from drivers.intake_mqtt.topics import TopicTables, check_filter

FOLDER = Path(__file__).parents[3] / "drivers" / "intake_mqtt"
CASES = json.loads((FOLDER / "cases" / "topics.json").read_text(encoding="utf-8"))
POINTS = [DriverPoint(1, "records", ExternalAddress(id="#records"), 2)]
LEVELS = st.lists(st.sampled_from(["a", "b", "", "$SYS"]), min_size=1, max_size=4)
WILD = st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=4)


def entry(**keys: object) -> MqttIntakeConfig:
    given: dict[str, Any] = {"host": "127.0.0.1", "client_id": "p", "topics": {"a": "permit"}}
    return MqttIntakeConfig.model_validate_json(json.dumps({**given, **keys}))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["filter"]))
def test_filters_match_as_the_standard_says(case: dict[str, Any]) -> None:
    tables = TopicTables({case["filter"]: "t"})
    assert not check_filter(case["filter"])
    assert [tables.table(topic) for topic in case["matches"]] == ["t"] * len(case["matches"])
    assert [tables.table(topic) for topic in case["not"]] == [None] * len(case["not"])


@given(WILD, st.booleans(), LEVELS.filter(lambda levels: levels[0] != "$SYS" and levels != [""]))
def test_filters_agree_with_the_library(wild: list[str], rest: bool, levels: list[str]) -> None:
    # The library lets + and # match a first level with $, which MQTT-4.7.2-1 forbids.
    wanted, topic = "/".join([*wild, *(["#"] if rest else [])]), "/".join(levels)
    assert (TopicTables({wanted: "t"}).table(topic) is not None) == Topic(topic).matches(wanted)


def test_the_first_filter_wins() -> None:
    tables = TopicTables({"site/+/gas": "gas", "site/#": "rest"})
    assert tables.table("site/a/gas") == "gas"
    assert tables.table("site/a/permit") == "rest"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"host": "10.0.0.1"}, "would be spoken to in clear text"),
        ({"topics": {}}, "at least 1"),
        ({"topics": {"a/#/b": "permit"}}, "# stands last"),
        ({"topics": {"a+/b": "permit"}}, "inside a level"),
        ({"topics": {"$share/g/a": "permit"}}, "shared subscription"),
        ({"password_file": "p"}, "needs user"),
        ({"certificate": "c"}, "belong together"),
        ({"certificate": "c", "key": "k"}, "needs TLS"),
        ({"client_id": "a b"}, "client_id"),
    ],
)
def test_a_wrong_entry_is_refused(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        entry(**keys)


def test_check_reads_the_files(tmp_path: Path) -> None:
    config = entry(
        topics={"a": "permitt"}, user="u", password_file=str(tmp_path / "p"),
        ca=str(tmp_path / "ca"),
    )  # fmt: skip
    said = {problem.column: problem.message for problem in check(config, POINTS)}
    assert said["topics"] == "topic 'a': no table 'permitt'; did you mean permit?"
    assert "cannot be read" in said["password_file"]
    assert said["ca"] == f"there is no file {tmp_path / 'ca'}"
    assert check(entry(), POINTS) == []
