"""Causes as the parts word them, and what the integrator is told to do."""

from __future__ import annotations

import errno

import pytest

from gateway.doctor.causes import cause_of, why_not


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        ("the serial port cannot be opened: another program uses it", "占用"),
        ("the serial port cannot be opened: Permission denied", "无权限"),
        ("the serial port cannot be opened: No such file or directory; there is x", "没有这个串口"),
        ("127.0.0.1:502 unit 1: no TCP connection: Connection refused; check cable", "没有服务"),
        ("no TCP connection: No route to host; check address", "不可达"),
        ("opc.tcp://dcs:4840: Name or service not known while connecting", "无法解析"),
        ("no TCP connection within 2 s", "超时"),
        ("no answer within 4 s", "超时"),
        ("no answer to several requests in a row; check unit id", "无应答"),
        ("no answer to several requests in a row, but 3 frames that are wrong", "不是约定的协议"),
        ("opc.tcp://x: the server refused user and password: check `user`", "登录被拒绝"),
        ("opc.tcp://x: the server does not trust our certificate yet: put c.der", "尚未信任"),
        ("the server's certificate is not accepted: self-signed", "证书"),
        ("the device closed the connection", "主动断开"),
        ("no TLS connection: Connection refused; check address, port, certificates", "没有服务"),
        ("no TLS connection within 2 s; check address, port, certificates", "超时"),
    ],
)
def test_each_cause_is_known_in_chinese_and_has_advice(said: str, chinese: str) -> None:
    cause = cause_of(said)
    assert chinese in cause.chinese
    assert cause.advice
    assert cause.chinese_advice


def test_what_is_not_known_is_passed_on() -> None:
    assert cause_of("something new").chinese == ""


def test_the_reason_of_a_refused_connection_is_no_address() -> None:
    error = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
    assert why_not(error) == "Connection refused"
