"""20,000 hostile messages for each parser; `make fuzz` runs a million."""

from __future__ import annotations

import struct
from typing import Any

import asyncua.ua
import pytest
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.opcua.codec import decode_data_change
from tests.drivers.fuzzing import feed
from tests.drivers.opcua.fuzz import KINDS, NOW_NS, PARSERS, TABLE, compare

ua: Any = asyncua.ua


@pytest.mark.parametrize("name", list(PARSERS))
def test_no_exception_but_the_named_ones_and_no_wrong_value(name: str) -> None:
    feed(name, PARSERS[name], 20_000, seed=1)


@given(st.integers(116_444_736_100_000_000, 150_000_000_000_000_000))
@example(133_000_000_000_000_079)  # 1.19 us off: what asyncua cuts, and what a float64 rounds up
def test_times_are_those_of_asyncua_as_near_as_both_can_say(ticks: int) -> None:
    items = b"".join(struct.pack("<IBBq", handle, 1, 13, ticks) for handle in range(4))
    body = struct.pack("<i", 4) + items + struct.pack("<i", -1)
    read = struct_from_binary(ua.DataChangeNotification, Buffer(body))
    told = [(one.ClientHandle, one.Value) for one in read.MonitoredItems]
    compare(decode_data_change(body, KINDS, NOW_NS, TABLE), told)
