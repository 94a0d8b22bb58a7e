"""Signals of the simulated plant: repeatable, in tenths, and eventful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.config import ModbusAddress, resolve
from drivers.opcua.config import OpcUaAddress
from drivers.point_table import parse
from drivers.sim.signals import Form, Plant
from drivers.sim.tables import modbus_table, opcua_table

SEEDS = st.integers(0, 2**40)


@given(st.integers(0, 300), SEEDS, st.integers(0, 10**9))
def test_equal_seeds_give_equal_values_at_any_second(count: int, seed: int, second: int) -> None:
    values = Plant(count, seed).values(second)
    plant = Plant(count, seed)
    plant.values(second + 1)
    assert np.array_equal(plant.values(second), values)
    assert values.shape == (count,)
    assert np.array_equal(values, np.rint(values * 10) / 10)
    assert np.abs(values, dtype=np.float64).max(initial=0.0) <= 3276.7


def test_other_seeds_give_other_values() -> None:
    assert not np.array_equal(Plant(50, 1).values(5), Plant(50, 2).values(5))


@pytest.mark.parametrize("seed", [0, 1, 7, 123456789])
def test_gas_crosses_its_limits_now_and_then_and_not_all_the_time(seed: int) -> None:
    plant = Plant(200, seed)
    gas = np.array([plant.values(second)[plant.gas] for second in range(900)])
    above = gas >= 25.0
    raised = int((above[1:] & ~above[:-1]).sum())
    assert above[:30].any(), "the first excursion comes soon"
    assert 5 <= raised <= 40
    assert (gas >= 50.0).any()
    assert above.mean() < 0.05
    assert gas.min() >= 0.0


def test_only_gas_and_the_wide_levels_leave_their_limits() -> None:
    plant = Plant(400, 3)
    every = np.array([plant.values(second) for second in range(0, 7200, 10)])
    for place, signal in enumerate(plant.signals):
        limits = signal.limits
        if signal.form is Form.GAS or place % 100 == 2 or limits.high is None:
            continue
        assert limits.low is not None
        assert limits.low < every[:, place].min() < every[:, place].max() < limits.high


def test_contacts_are_bits_and_steps_hold() -> None:
    plant = Plant(200, 1)
    every = np.array([plant.values(second) for second in range(300)])
    assert set(np.unique(every[:, plant.contact])) == {0.0, 1.0}
    assert (np.diff(every[:, plant.step], axis=0) != 0).mean() < 0.02


def test_a_negative_count_or_seed_is_refused() -> None:
    for count, seed in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="0 or more"):
            Plant(count, seed)


def test_the_point_tables_are_right_for_the_drivers() -> None:
    plant = Plant(250, 1)
    modbus = parse(modbus_table(plant).encode(), ModbusAddress)
    opcua = parse(opcua_table(plant).encode(), OpcUaAddress)
    assert modbus.problems == opcua.problems == ()
    tags = [signal.tag for signal in plant.signals]
    assert [row.tag for row in modbus.rows] == [row.tag for row in opcua.rows] == tags
    spans = [resolve(row.address, "zero").span for row in modbus.rows]
    taken = {(span.area, address) for span in spans for address in range(span.start, span.end)}
    assert len(taken) == sum(span.end - span.start for span in spans)
    gas = next(row for row in modbus.rows if row.tag.startswith("AT-"))
    assert (gas.settings.high, gas.settings.high_high, gas.settings.gas) == (25.0, 50.0, "CH4")
