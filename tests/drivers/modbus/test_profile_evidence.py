"""The verdict on the address base: right or none, never wrong; and what registers could be."""

from __future__ import annotations

import math
import struct
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import DriverPoint
from drivers.modbus import ModbusConfig
from drivers.modbus.codec import Area
from drivers.modbus.evidence import SHIFTS, guesses, interpret, is_sensible, judge_base, spans
from drivers.modbus.profile_files import names
from tests.drivers.modbus.test_profile_golden import CASES

TELLING = {"honeywell-sensepoint-xcd", "honeywell-sensepoint-xrl", "honeywell-midas",
           "draeger-polytron-8000", "msa-ultima-x", "msa-ultima-x3"}  # fmt: skip
"""Profiles with a float or codes: from their registers a base can be told."""


def _device(name: str) -> tuple[ModbusConfig, list[DriverPoint[Any]], dict[str, Any]]:
    raw = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    keys = {key: raw[key] for key in raw if key != "case"}
    config = ModbusConfig.model_validate({"host": "192.0.2.1", "profile": name, **keys})
    rows, _ = config.own_rows(())
    points = [DriverPoint(at, row.tag, row.address) for at, row in enumerate(rows, start=1)]
    return config, points, raw["case"][0]


def _memory(
    config: ModbusConfig, points: list[DriverPoint[Any]], case: dict[str, Any], shift: int
) -> dict[tuple[Area, int], int]:
    """What a probe would have read of a device whose registers lie `shift` higher."""
    memory = {
        (span.area, at): 0
        for span in spans(points, config.limits())
        for at in range(span.start, span.end)
    }
    for area in Area:
        for first, words in case.get(area.name.lower(), {}).items():
            for at, word in enumerate(words, start=int(first, 0) + shift):
                if (area, at) in memory:
                    memory[area, at] = word
    return memory


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", names())
def test_the_base_is_told_right_or_not_at_all(name: str, shift: int) -> None:
    config, points, case = _device(name)
    verdict = judge_base(points, _memory(config, points, case, shift))
    assert verdict.shift in {shift, None}, verdict.text
    if name == "honeywell-midas" and shift < 0:
        return  # its first register is at wire address 0: no device has it one lower
    if name in TELLING:
        assert verdict.shift == shift, verdict.text
        assert "gas is" in verdict.text


def test_nothing_read_is_said_so() -> None:
    _, points, _ = _device("honeywell-midas")
    verdict = judge_base(points, {})
    assert verdict.shift is None
    assert verdict.text == "nothing could be read at these addresses or beside them"


def test_no_span_touches_what_must_not_be_read() -> None:
    config, points, _ = _device("honeywell-midas")
    closed = config.model_copy(update={"forbidden": ("holding:11-12",)})
    read = {at for span in spans(points, closed.limits()) for at in range(span.start, span.end)}
    assert 10 in read  # flow, at its own address
    assert not read & {11, 12}


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=6), st.integers(0, 60000))
def test_guesses_are_plain_readings(words: list[int], first: int) -> None:
    found = list(guesses(words, first))
    assert [guess.address for guess in found] == list(range(first, first + len(words)))
    assert [guess.word for guess in found] == words
    assert all(guess.signed % 0x10000 == guess.word for guess in found)
    for guess, following in zip(found, words[1:], strict=False):
        raw = struct.pack(">HH", guess.word, following)
        for order, swapped in {
            "ABCD": raw,
            "CDAB": raw[2:] + raw[:2],
            "BADC": bytes((raw[1], raw[0], raw[3], raw[2])),
            "DCBA": raw[::-1],
        }.items():
            (expected,) = struct.unpack(">f", swapped)
            same = guess.floats[order] == expected or math.isnan(expected)
            assert same, order
    assert not found[-1].floats


def test_what_is_a_sensible_reading() -> None:
    assert all(is_sensible(value) for value in (0.0, 20.9, -5.0, 0.001, 1e6))
    assert not any(is_sensible(value) for value in (math.nan, math.inf, 1e-30, 3e7))


def test_points_are_read_as_the_driver_reads_them() -> None:
    config, points, case = _device("honeywell-sensepoint-xcd")
    samples = {s.tag: s for s in interpret(points, _memory(config, points, case, 0))}
    assert samples["gas"].value == pytest.approx(20.9)
    assert samples["gas"].words == (0x41A7, 0x3333)
    assert samples["gas"].quality == 0
