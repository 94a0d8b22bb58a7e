"""Hosts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.host_form import host_problem

WRONG = {
    "127.0.0.1:502": "write host = \"127.0.0.1\" and port = 502, two keys, not '127.0.0.1:502'",
    "gds：502": "write host = \"gds\" and port = 502, two keys, not 'gds：502'",
    "tcp://10.0.0.7": "is a name or an address alone, \"10.0.0.7\", not 'tcp://10.0.0.7'",
    "http://gds:8080/": "write host = \"gds\" and port = 8080, two keys, not 'http://gds:8080/'",
    "192.168.1.300": "is no IPv4 address (four numbers from 0 to 255): '192.168.1.300'",
    "192.168.1": "is no IPv4 address (four numbers from 0 to 255): '192.168.1'",
    " 10.0.0.7": "must be a host name or an IP address, without blanks, not ' 10.0.0.7'",
    "气体柜": "must be a host name or an IP address, without blanks, not '气体柜'",
    "gds..plant": "must be a host name or an IP address, without blanks, not 'gds..plant'",
    "10。0。0。7": "must be a host name or an IP address, without blanks, not '10。0。0。7'",
}


@pytest.mark.parametrize("host", WRONG)
def test_a_host_that_is_none_is_explained(host: str) -> None:
    assert host_problem(host) == WRONG[host]


@pytest.mark.parametrize(
    "host", ["localhost", "10.0.0.7", "gds-1.plant.local.", "plc_2", "::1", "fe80::1%eth0"]
)
def test_a_host_is_taken(host: str) -> None:
    assert host_problem(host) == ""


@given(st.ip_addresses())
def test_every_address_is_taken(address: object) -> None:
    assert host_problem(str(address)) == ""


@given(st.text())
def test_anything_gets_one_line(host: str) -> None:
    assert len(host_problem(host).splitlines()) <= 1
