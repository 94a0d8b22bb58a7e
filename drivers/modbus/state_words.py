"""Enumerated states of a profile in words, Chinese beside English: what 3 in a state register says.

Guarantees: words come from the codes by which the profile judges (status.py), so that what a person
reads and what becomes of the values cannot disagree; a code that the profile does not know is said
to be unknown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from drivers.modbus.profile import Profile, bits, code_number

_WORDS: Mapping[str, str] = {
    "good": "normal 正常",
    "simulated": "simulation 模拟",
    "uncertain": "warning 异常",
    "stale": "not current 数据陈旧",
    "inhibited": "inhibited 抑制",
    "warm_up": "warm-up 预热",
    "calibrating": "calibration 标定",
    "under_test": "test 测试",
    "sensor_fault": "fault 故障",
    "device_exception": "device fault 设备故障",
    "comm_failure": "communication failure 通信故障",
    "not_connected": "not present 未接入",
    "out_of_service": "out of service 停用",
    "out_of_range": "out of range 超量程",
    "config_error": "configuration error 配置错误",
}
UNKNOWN = "unknown 未知"


def legend(profile: Profile, tag: str) -> str:
    """Say what the codes of a register mean, on one line; empty where they mean nothing."""
    return "; ".join(
        (f"bit{'s' if '-' in part else ''} {part}: " if part else "")
        + ", ".join(f"{code} {word}" for code, word in sorted(table.items()))
        for part, table in _tables(profile, tag)
    )


def words(profile: Profile, tag: str, value: float) -> str:
    """Say what a register says now; of several groups of bits those that are not normal."""
    found = [
        table.get((int(value) >> shift) & mask, UNKNOWN)
        for part, table in _tables(profile, tag)
        for shift, mask in (bits(part),)
    ]
    telling = [word for word in found if word != _WORDS["good"]]
    return ", ".join(dict.fromkeys(telling or found[:1]))


def _tables(profile: Profile, tag: str) -> Iterator[tuple[str, dict[int, str]]]:
    """Groups of bits of a register, with the words of their codes."""
    for status in profile.statuses:
        if status.by == tag:
            yield (
                status.bits,
                {code_number(c): _WORDS.get(q, q) for c, q in status.codes.items()},
            )
    for unit in profile.units:
        if unit.by == tag:
            yield unit.bits, {code_number(c): word for c, word in unit.codes.items()}


__all__ = ["UNKNOWN", "legend", "words"]
