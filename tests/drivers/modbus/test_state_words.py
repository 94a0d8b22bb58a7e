"""Enumerated states in words: those of the codes by which the profile judges."""

from __future__ import annotations

import pytest

from drivers.modbus import ModbusConfig
from drivers.modbus.profile import QUALITIES
from drivers.modbus.profile_files import load, names
from drivers.modbus.state_words import UNKNOWN, legend, words


@pytest.mark.parametrize(
    ("profile", "tag", "value", "said"),
    [
        ("honeywell-sensepoint-xcd", "state", 3, "inhibited 抑制"),
        ("honeywell-sensepoint-xcd", "state", 1, "normal 正常"),
        ("honeywell-sensepoint-xcd", "state", 9, UNKNOWN),
        ("honeywell-sensepoint-xcd", "unit_code", 5, "%LEL"),
        ("honeywell-sensepoint-xcd", "value", 3, ""),
        ("honeywell-midas", "status", 0x01, "normal 正常"),
        ("honeywell-midas", "status", 0x20, "warm-up 预热, fault 故障"),
        ("draeger-regard-7000", "state", 0b111001, "normal 正常"),
        ("draeger-regard-7000", "state", 0b101101, "inhibited 抑制, not current 数据陈旧"),
    ],
)
def test_what_a_register_says(profile: str, tag: str, value: int, said: str) -> None:
    assert words(load(profile), tag, value) == said


def test_the_legend_goes_into_the_description_of_every_loop() -> None:
    config = ModbusConfig.model_validate(
        {"host": "192.0.2.1", "profile": "honeywell-sensepoint-xcd", "count": 2}
    )
    rows, _ = config.own_rows(())
    found = [row.settings.description for row in rows if row.tag.endswith(".state")]
    said = (
        "monitor state 状态: 1 normal 正常, 2 warm-up 预热, 3 inhibited 抑制, 12 calibration 标定"
    )
    assert found == [said, said]
    assert any(said in line for line in config.own_lines())


def test_groups_of_bits_are_told_apart() -> None:
    assert legend(load("draeger-regard-7000"), "state").startswith(
        "bit 0: 0 out of service 停用, 1 normal 正常; bit 1: 0 normal 正常, 1 test 测试; bit 2: "
    )
    assert "; bits 4-5: 0 normal 正常, 1 warning 异常" in legend(load("honeywell-midas"), "status")
    assert legend(load("honeywell-midas"), "value") == ""


def test_every_quality_that_a_shipped_profile_names_has_words_in_both_languages() -> None:
    for name in names():
        profile = load(name)
        for status in profile.statuses:
            text = legend(profile, status.by)
            assert text
            assert not any(f" {word}," in f"{text}," for word in QUALITIES if "_" in word), text
            assert len(text) < 400
