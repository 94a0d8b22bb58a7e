"""The entries and mapping files that ship as samples are right, and show the true defaults."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers import registry
from drivers.intake.mapping import load
from drivers.intake.records import RECORDS, Record
from drivers.intake.settings import ExternalAddress, IntakeConfig
from drivers.point_table import parse

DRIVERS = Path(__file__).parents[3] / "drivers"
NAMES = ["intake_folder", "intake_http", "intake_mqtt"]


def entry(name: str, text: str) -> dict[str, Any]:
    (device,) = tomllib.loads(text)["device"]
    assert device.pop("driver") == name
    for key in ("name", "points"):
        assert device.pop(key)
    return dict(device)


@pytest.mark.parametrize("name", NAMES)
def test_sample_entries_are_valid(name: str) -> None:
    text = (DRIVERS / name / "sample.toml").read_text(encoding="utf-8")
    driver = registry.find(name)
    driver.config.model_validate_json(json.dumps(entry(name, text)))


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_are_commented_out_show_their_defaults(name: str) -> None:
    text = (DRIVERS / name / "sample.toml").read_text(encoding="utf-8")
    config = registry.find(name).config
    for line in text.splitlines():
        key, equals, rest = line.removeprefix("# ").partition(" = ")
        field = config.model_fields.get(key)
        if not line.startswith("# ") or not equals or field is None or field.default is None:
            continue
        assert str(field.default) in {rest.split()[0], f"{rest.split()[0]}.0"}, line


def test_a_point_table_of_a_system_that_sends_records_only() -> None:
    table = parse(b"name,id\nrecords,#records\n", registry.find("intake_http").address)
    assert (len(table.rows), table.problems) == (1, ())
    chinese = "位号,编号,类型\nTI-101,DCS.TI101,float\n".encode("gb18030")
    table = parse(chinese, registry.find("intake_folder").address)
    assert (len(table.rows), table.problems) == (1, ())
    wrong = parse(b"name,id\nrecords,#record\n", registry.find("intake_http").address)
    assert "none of the intake's own points" in wrong.problems[0].message


@pytest.mark.parametrize("name", NAMES)
def test_without_a_point_table_the_intake_counts(name: str) -> None:
    text = (DRIVERS / name / "sample.toml").read_text(encoding="utf-8")
    config = registry.find(name).config.model_validate_json(json.dumps(entry(name, text)))
    assert isinstance(config, IntakeConfig)
    rows, problems = config.own_rows(())
    assert [(row.tag, row.address.id) for row in rows] == [
        ("records", "#records"), ("rejected", "#rejected"),
    ]  # fmt: skip
    assert not problems
    table = parse(b"name,id\nti,TI-101\n", ExternalAddress)
    assert config.own_rows(table.rows) == (table.rows, ())


def test_the_mapping_samples_load() -> None:
    for path in (DRIVERS / "intake" / "cases").glob("*.toml"):
        assert load(path, "").tables


def test_the_readme_lists_every_record_with_its_fields() -> None:
    text = (DRIVERS / "intake" / "README.md").read_text(encoding="utf-8")
    for name, record in RECORDS.items():
        fields = record.model_fields.items()
        own = {n: field.is_required() for n, field in fields if n not in Record.model_fields}
        must = ", ".join(field for field, required in own.items() if required)
        may = ", ".join(field for field, required in own.items() if not required)
        assert f"| `{name}` | {must} | {may} |" in text
