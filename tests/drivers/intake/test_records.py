"""Rows of site systems become typed events, or are refused row by row with a reason."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intake.document import DocumentError, read_csv, read_json
from drivers.intake.mapping import MappingConfig, MappingError, SourceMapping, build, load, parse
from drivers.intake.moments import Instant, TimeFormat, zone
from drivers.intake.records import RECORDS
from drivers.intake.rows import Accepted, Rejected, RowReader

NOW_NS = 1_777_600_000_000_000_000  # 2026-05-01T01:46:40Z
CASES = Path(__file__).parents[3] / "drivers" / "intake" / "cases"

OWN: dict[str, dict[str, Any]] = {
    "permit": {"ticket_no": "T-1", "work": "hot_work", "status": "approved", "level": "1"},
    "gas_analysis": {"permit": "p1", "gas": "CH4", "value": 0.1, "unit": "%vol"},
    "position": {"card": "C7", "area": "unit 1"},
    "position_count": {"area": "unit 1", "people": 7},
    "position_alarm": {"alarm": "over_count", "area": "unit 1"},
    "dual_prevention": {"table": "risk_event", "parent": "u1", "name": "leak"},
    "lightning": {"level": "orange", "distance_km": 8},
    "enterprise_grade": {"grade": "orange", "reason": "full inspection"},
    "unit_risk": {"unit": "tank farm", "level": "major"},
    "electricity": {"meter": "M1", "power_kw": 12.5},
    "welding": {"machine": "W1", "on": True, "welder": "0017"},
    "fire_alarm": {"device": "D-12", "state": "fire"},
    "vibration": {"machine": "P-101", "value": 4.5, "unit": "mm/s", "measure": "rms"},
    "picture": {"alarm": "no_helmet", "camera": "cam-1"},
}


def own_names() -> SourceMapping:
    return build(MappingConfig(source="ticket-system"))


def read(table: str, document: object, mapping: SourceMapping | None = None) -> list[Any]:
    reader = RowReader("tickets", mapping or own_names())
    found = reader.mapping.table(table)
    assert found is not None
    return list(reader.read(found, document, "sender-1", NOW_NS))


def row(kind: str, **more: object) -> dict[str, object]:
    return {"id": "r1", "time": "2026-05-01T08:00:00+08:00", **OWN[kind], **more}


@pytest.mark.parametrize("kind", sorted(RECORDS))
def test_every_record_type_becomes_an_event_with_flat_attributes(kind: str) -> None:
    (found,) = read(kind, row(kind, vendor={"batch": 3, "tags": ["a", None, "b"]}))
    assert isinstance(found, Accepted)
    event = found.event
    assert event.kind == f"intake.{kind}"
    assert event.source == "tickets"
    assert event.time_ns == 1_777_593_600_000_000_000
    assert event.attributes["time"] == "2026-05-01T00:00:00.000Z"
    assert event.attributes["source_system"] == "ticket-system"
    assert event.attributes["sender"] == "sender-1"
    assert event.attributes["deleted"] is False
    assert event.attributes["extra.vendor.batch"] == 3
    assert event.attributes["extra.vendor.tags.2"] == "b"
    assert all(isinstance(v, str | int | float | bool) for v in event.attributes.values())
    assert json.loads(json.dumps(dict(event.attributes))) == event.attributes
    for name, value in OWN[kind].items():
        assert event.attributes[name] == value


def test_own_records_of_all_types_are_covered() -> None:
    assert set(OWN) == set(RECORDS)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("permit", {"work": "welding"}, "work must be 'hot_work', 'confined_space'"),
        ("permit", {"ticket_no": ""}, "ticket_no is missing"),
        ("permit", {"ticket_no": None}, "ticket_no is missing"),
        ("permit", {"id": "a\nb"}, "id must have 1 to 128 printable characters"),
        ("permit", {"time": "yesterday"}, "time must be a time as iso8601, not 'yesterday'"),
        ("permit", {"time": "1970-01-01T00:00:00Z"}, "is not between the years 2000 and 2100"),
        ("permit", {"cancelled": "maybe"}, "cancelled must be true or false"),
        ("permit", {"extra": "\ud800"}, "holds a character that is no text"),
        ("gas_analysis", {"unit": "%"}, "unit '%' may mean %vol or %LEL"),
        ("gas_analysis", {"value": "high"}, "value must be a number, not 'high'"),
        ("gas_analysis", {"value": "NaN"}, "value must be a finite number"),
        ("gas_analysis", {"value": True}, "value must be a number, not True"),
        ("position_count", {"people": -1}, "people must be at least 0"),
        ("position_count", {"people": 1.5}, "people must be a whole number"),
        ("position_alarm", {"alarm": "7"}, "alarm must be 'over_count'"),
        ("dual_prevention", {"parent": None}, "parent is missing: a risk_event belongs to"),
        ("permit", {"note": "x" * 2001}, "field 'note' is longer than 2000 characters"),
        ("permit", {"more": {str(n): n for n in range(65)}}, "more than 64"),
    ],
)
def test_a_wrong_row_is_refused_with_one_sentence(
    kind: str, change: dict[str, object], reason: str
) -> None:
    good, bad = read(kind, [row(kind), row(kind, **change)])
    assert isinstance(good, Accepted)
    assert isinstance(bad, Rejected)
    assert reason in bad.reason
    assert "\n" not in bad.reason


def test_unit_of_gas_is_kept_as_sent_and_never_converted() -> None:
    for unit in ("%vol", "%LEL", "ppm", "mg/m3"):
        (found,) = read("gas_analysis", row("gas_analysis", unit=unit, value="0.50"))
        assert (found.event.attributes["value"], found.event.attributes["unit"]) == (0.5, unit)


@pytest.mark.parametrize("code", ["1", 1, "超员"])
def test_positioning_codes_become_words_and_are_kept(code: object) -> None:
    (found,) = read("position_alarm", row("position_alarm", alarm=code))
    assert found.event.attributes["alarm"] == "over_count"
    assert found.event.attributes["sent.alarm"] == str(code)


def test_the_same_content_has_the_same_digest_whatever_the_order_and_sender() -> None:
    first = row("permit", a=1, b=2)
    reader = RowReader("tickets", own_names())
    table = reader.mapping.tables["permit"]
    (one,) = reader.read(table, first, "x", NOW_NS)
    (two,) = reader.read(table, dict(reversed(first.items())), "y", NOW_NS + 1)
    (other,) = reader.read(table, {**first, "status": "closed"}, "x", NOW_NS)
    assert isinstance(one, Accepted)
    assert isinstance(two, Accepted)
    assert isinstance(other, Accepted)
    assert one.digest == two.digest
    assert one.digest != other.digest


def test_a_clock_ahead_is_noted_and_not_corrected() -> None:
    (found,) = read("permit", row("permit", time="2026-05-02T01:46:40Z"))
    assert found.event.attributes["clock_ahead_s"] == 86_400
    assert found.event.attributes["time"] == "2026-05-02T01:46:40.000Z"


def test_a_picture_gives_the_id_where_there_is_none() -> None:
    reader = RowReader("box", own_names())
    sent = {k: v for k, v in row("picture").items() if k != "id"}
    (found,) = reader.read(reader.mapping.tables["picture"], sent, "box", NOW_NS, b"\xff\xd8\xffx")
    assert isinstance(found, Accepted)
    assert found.event.picture == b"\xff\xd8\xffx"
    assert found.id == found.event.attributes["picture_sha256"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(["id", "time", "work", "people", "area", "value", "unit", "alarm", "x.y"])


@given(st.sampled_from(sorted(RECORDS)), st.lists(st.dictionaries(FIELDS, JSON), max_size=4))
def test_whatever_a_row_holds_it_is_taken_or_refused(kind: str, rows: list[object]) -> None:
    found = read(kind, rows)
    assert len(found) == len(rows)
    for answer in found:
        if isinstance(answer, Accepted):
            json.dumps(dict(answer.event.attributes)).encode()
        else:
            assert answer.reason


@given(st.binary(max_size=200))
def test_documents_are_read_or_refused(raw: bytes) -> None:
    for reader in (read_json, read_csv):
        with contextlib.suppress(DocumentError):
            reader(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[" * 100_000, "nested deeper than 8"),
        (b"[[[[[[[[[1]]]]]]]]]", "nested deeper than 8"),
        (b'{"a": NaN}', "NaN, which is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number of 5000 digits"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": 1', "no JSON at line 1, column"),
    ],
)
def test_hostile_json_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read_json(raw)


def test_csv_of_a_chinese_spreadsheet_is_read() -> None:
    rows = read_csv("票号,状态\r\nT-1,已批准\r\n\r\nT-2,\r\n".encode("gb18030"))
    assert rows == [{"票号": "T-1", "状态": "已批准"}, {"票号": "T-2"}]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("yyyyMMddHHmmss", "20260501080000", "2026-05-01T00:00:00.000Z"),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 08:00:00", "2026-05-01T00:00:00.000Z"),
        ("yyyyMMddHHmmssSSS", "20260501080000123", "2026-05-01T00:00:00.123Z"),
        ("yyyy/MM/dd", "2026/05/01", "2026-04-30T16:00:00.000Z"),
        ("iso8601", "2026-05-01T00:00:00Z", "2026-05-01T00:00:00.000Z"),
        ("iso8601", "2026-05-01 08:00:00", "2026-05-01T00:00:00.000Z"),
        ("epoch_ms", 1_777_593_600_123, "2026-05-01T00:00:00.123Z"),
        ("epoch_s", "1777593600", "2026-05-01T00:00:00.000Z"),
        # a permit that ends at midnight was refused, and so not watched at all
        ("yyyy-MM-dd HH:mm:ss", "2026-12-31 24:00:00", "2026-12-31T16:00:00.000Z"),
        ("yyyyMMddHHmmss", "20260430240000", "2026-04-30T16:00:00.000Z"),
        ("iso8601", "2026-02-28T24:00:00+08:00", "2026-02-28T16:00:00.000Z"),
        ("iso8601", "2026-02-28 24:00", "2026-02-28T16:00:00.000Z"),
        ("iso8601", "2026-02-28T24:00:00.000Z", "2026-03-01T00:00:00.000Z"),
    ],
)
def test_times(form: str, text: object, expected: str) -> None:
    assert str(TimeFormat(form, zone("+08:00")).parse(text)) == expected


@pytest.mark.parametrize(
    ("form", "text"),
    [("yyyyMMddHHmmss", "20260430240001"), ("yyyyMMddHHmmss", "20260430250000"),
     ("iso8601", "2026-02-28T24:00:01Z"), ("iso8601", "2026-02-28T24:01Z"),
     ("yyyy-MM-dd HH:mm:ss", "2026-12-31 24:30:00")],
)  # fmt: skip
def test_24_is_an_hour_at_its_very_beginning_only(form: str, text: str) -> None:
    with pytest.raises(ValueError, match="must be a time as"):
        TimeFormat(form, zone("+08:00")).parse(text)


@given(st.integers(946_684_800_000, 4_102_444_799_999))
def test_a_time_survives_being_written_and_read(milliseconds: int) -> None:
    moment = Instant(milliseconds * 1_000_000)
    assert TimeFormat("iso8601", zone("Z")).parse(str(moment)) == moment
    assert TimeFormat("epoch_ms", zone("Z")).parse(milliseconds) == moment


@pytest.mark.parametrize("form", ["", "yyyy", "yyyyMMddHHmmssyyyy", "YYYYMMDD", "d/M/yyyy"])
def test_a_time_format_that_cannot_be_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="time_format"):
        TimeFormat(form, zone("Z"))


def test_a_mapping_file_reports_every_mistake_at_once() -> None:
    text = """
source = "s"
[table.fire]
record = "permitt"
[table.b]
record = "permit"
time_format = "nonsense"
[table.c]
record = "permit"
fields.ticketno = "x"
defaults.works = "hot_work"
"""
    with pytest.raises(MappingError) as caught:
        parse(text)
    said = "\n".join(caught.value.problems)
    assert "[table.fire] record 'permitt' is unknown; did you mean permit?" in said
    assert "[table.b] time_format 'nonsense' is unknown" in said
    assert "[table.c] fields.ticketno is no field of permit; did you mean ticket_no?" in said
    assert "defaults.works is no field of permit; did you mean work?" in said
    assert "fields.status is missing: a permit needs it" in said


@pytest.mark.parametrize(
    "text",
    [
        "source = 1",
        "nonsense",
        "",
        'source = "s"\nzone = "8"',
        'source = "s"\n[table.x]\nrecord = "permit"\nfield = 1',
    ],
)
def test_a_wrong_mapping_file_is_one_clear_error(text: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse(text)
    assert all(said and "\n" not in said for said in caught.value.problems)


@pytest.mark.parametrize("case", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_mapping_samples_give_what_they_promise(case: Path) -> None:
    told = json.loads(case.read_text(encoding="utf-8"))
    mapping = load(CASES / told["mapping"], "")
    found = read(told["table"], told["document"], mapping)
    assert len(found) == len(told["rows"])
    for answer, expected in zip(found, told["rows"], strict=True):
        if "rejected" in expected:
            assert isinstance(answer, Rejected)
            assert expected["rejected"] in answer.reason
        else:
            assert isinstance(answer, Accepted), answer
            assert {k: answer.event.attributes.get(k) for k in expected} == expected


def test_every_mapping_sample_has_a_case() -> None:
    told = {
        json.loads(case.read_text(encoding="utf-8"))["mapping"] for case in CASES.glob("*.json")
    }
    assert told == {path.name for path in CASES.glob("*.toml")}
    for path in CASES.glob("*.toml"):
        tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "said", "name", "word"), [
    ("enterprise_grade", {"grade": "橙"}, "grade", "orange"),
    ("enterprise_grade", {"grade": "红色"}, "grade", "red"),
    ("unit_risk", {"unit": "u", "level": "1"}, "level", "major"),
    ("unit_risk", {"unit": "u", "level": "低风险"}, "level", "low"),
])  # fmt: skip
def test_colours_and_levels_become_words(
    kind: str, said: dict[str, Any], name: str, word: str
) -> None:
    (found,) = read(kind, row(kind) | said)
    assert isinstance(found, Accepted)
    assert found.event.attributes[name] == word
