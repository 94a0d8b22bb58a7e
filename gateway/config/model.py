"""The sections of a site file that belong to the gateway itself.

Guarantees: frozen and strict; an unknown key is an error; every mistake has a sentence that says
what is wrong and what would be right. Relative paths are relative to the site file's folder; the
loader has joined them on before these models see them. [[device]] and [[camera]] belong to the
drivers (drivers/contract.py) and to vision (vision/config.py). No secret is kept in here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from buffer.contract import Stream
from buffer.policy import BufferConfig
from drivers.loopback import is_loopback
from drivers.wording import shown

_GATEWAY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"\w[\w.-]{0,63}")
_CODE_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015, table 2: no I O S V Z
_CODE_WEIGHTS = (
    1,
    3,
    9,
    27,
    19,
    26,
    16,
    17,
    20,
    29,
    25,
    13,
    8,
    24,
    10,
    30,
    28,
)  # ibid., 3^i mod 31
GIB = 1 << 30


def split_address(address: str) -> tuple[str, int]:
    """Split "host:port" or "[IPv6]:port"; raises ValueError with a clear sentence."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif "://" in address:
        raise ValueError(f"must be host:port alone, without {host.partition(':')[0]}://,"
                         f" not {shown(address)}")  # fmt: skip
    elif ":" in host:
        raise ValueError(f"an IPv6 address goes in brackets, [::1]:50051, not {shown(address)}")
    good = re.fullmatch(r"[^\s/@\[\]]+", host) and re.fullmatch(r"[0-9]{1,5}", port)
    if not (colon and good and int(port) <= 65535):
        raise ValueError(f"must be host:port, for example 10.1.2.3:50051, not {shown(address)}")
    try:
        host.encode("idna")  # as the system asks for an address
    except UnicodeError:
        raise ValueError(f"holds no host name: between its dots are 1 to 63 characters each, not"
                         f" {shown(address)}") from None  # fmt: skip
    return host, int(port)


def enterprise_doubt(code: str) -> str:
    """Say why a 统一社会信用代码 looks wrong, or nothing (check digit of GB 32100-2015)."""
    if any(char not in _CODE_CHARACTERS for char in code):
        return "holds a character that GB 32100-2015 does not use (I, O, S, V, Z)"
    body = sum(
        _CODE_CHARACTERS.index(char) * weight
        for char, weight in zip(code, _CODE_WEIGHTS, strict=False)
    )
    if _CODE_CHARACTERS[-body % 31] == code[-1]:
        return ""
    if "XXXX" in code:
        return "is a placeholder: put in the 18 characters of the business licence 营业执照"
    return "its check digit does not fit (GB 32100-2015): compare with the business licence"


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be 1 to 64 letters, digits, '.', '-' or '_', beginning with a letter or digit,"
            f" not {shown(value)}"
        )
    return value


def _gateway_id(value: str) -> str:
    if not _GATEWAY_ID.fullmatch(value):
        raise ValueError(
            "must be 1 to 64 of A-Z a-z 0-9 '.' '-' '_', beginning with a letter or digit,"
            f" not {shown(value)}"
        )
    return value


def _enterprise(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Z]{18}", value):
        raise ValueError(
            "must be the 18 digits and capital letters of the 统一社会信用代码,"
            f" not {len(value)} characters {shown(value)}"
        )
    return value


def _target(value: str) -> str:
    if split_address(value)[1] == 0:
        raise ValueError(f"needs the receiver's port, 1 to 65535, not {shown(value)}")
    return value


def _loopback_address(value: str) -> str:
    host, _ = split_address(value)
    if not is_loopback(host):
        raise ValueError(
            "must be an address of this machine itself, for example 127.0.0.1:9464,"
            f" not {shown(value)}"
        )
    return value


Name = Annotated[str, AfterValidator(_name)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=1, le=24 * 3660, allow_inf_nan=False)]
Quota = Annotated[float, Field(gt=0, le=1 << 20, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of every section: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GatewayConfig(Section):
    """[gateway]: who this gateway is, and where it keeps what it must not lose.

    id: 1 to 64 letters (A-Z, a-z), digits, '.', '-', '_'; also in the certificate's URI SAN.
    enterprise: 统一社会信用代码, 18 characters.  data_dir: folder of the buffer.
    """

    id: Annotated[str, AfterValidator(_gateway_id)]
    enterprise: Annotated[str, AfterValidator(_enterprise)]
    data_dir: Path


class HazardConfig(Section):
    """[[hazard]] 重大危险源: official code and, if graded, level 1 (一级) to 4 (四级)."""

    name: Name
    code: str = Field(min_length=1, max_length=64)
    level: int | None = Field(default=None, ge=1, le=4)
    description: str = Field(default="", max_length=512)


class PlaceConfig(Section):
    """[[place]] 区域."""

    name: Name
    code: str = Field(default="", max_length=64)
    description: str = Field(default="", max_length=512)


class EquipmentConfig(Section):
    """[[equipment]] 设备: a tank, a pump, a reactor."""

    name: Name
    code: str = Field(default="", max_length=64)
    place: str = ""
    hazard: str = ""
    description: str = Field(default="", max_length=512)


class RuleConfig(Section):
    """[[rule]]: the site's own value of a rule of the rule books (gateway/rules/rulebooks).

    id: of the rule.  value: in the rule's unit.  reason: needed where the value is looser.
    """

    id: str = Field(min_length=1, max_length=64)
    value: float = Field(allow_inf_nan=False)
    reason: str = Field(default="", max_length=512)


StreamName = Literal["alarm", "event", "telemetry", "evidence"]


class RaisedConfig(Section):
    """[uplink.filter.raised]: less is left out while grade or risk is high.

    grade: from which grade of the enterprise 企业分级 on (red, orange, yellow).  unit_risk: from
    which risk 风险等级 of any unit on (major, larger, general).  every_s, deadband_percent,
    on_change: what then holds instead of the filter's own; it must leave out less.
    """

    grade: Literal["red", "orange", "yellow"] | None = None
    unit_risk: Literal["major", "larger", "general"] | None = None
    every_s: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)
    deadband_percent: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    on_change: Literal[False] | None = None

    @model_validator(mode="after")
    def _raises(self) -> Self:
        if self.grade is None and self.unit_risk is None:
            raise ValueError("give grade or unit_risk: from which on less is left out")
        return self


class FilterConfig(Section):
    """[uplink.filter]: what a destination with a thin line is sent, by a stream of its own.

    points: names with * and ?, as in gds-1/*.  places, hazards: names or codes as in the point
    tables.  on_change: telemetry only where a value changed by more than the point's deadband, or
    by deadband_percent of its range where that is more.  every_s: at most one value of a point in
    so many seconds.  Changes of quality, crossed limits and alarms are always sent.
    raised: what holds instead while grade or risk is high.
    """

    points: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = ()
    places: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = ()
    hazards: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = ()
    on_change: bool = False
    deadband_percent: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False)
    every_s: float = Field(default=0.0, ge=0, le=86_400, allow_inf_nan=False)
    raised: RaisedConfig | None = None

    @model_validator(mode="after")
    def _is_less(self) -> Self:
        raised = self.raised
        if raised is None:
            return self
        for name in ("every_s", "deadband_percent"):
            own, closer = getattr(self, name), getattr(raised, name)
            if closer is not None and closer >= own:
                raise ValueError(
                    f"raised.{name} is {closer:g} and must be less than the filter's own {own:g}"
                )
        if raised.on_change is not None and not self.on_change:
            raise ValueError("raised.on_change = false changes nothing: the filter has none")
        if raised.every_s is raised.deadband_percent is raised.on_change is None:
            raise ValueError("raised changes nothing: give every_s, deadband_percent or on_change")
        return self

    @model_validator(mode="after")
    def _filters(self) -> Self:
        if self.deadband_percent and not self.on_change:
            raise ValueError("deadband_percent needs on_change = true")
        if not (self.points or self.places or self.hazards or self.on_change or self.every_s):
            raise ValueError(
                "leaves nothing out: give points, places, hazards, on_change or every_s,"
                " or take the table [uplink.filter] away"
            )
        return self


class UplinkConfig(Section):
    """[[uplink]]: one destination.

    target: host:port.  ca, certificate, key: PEM files for mutual TLS, needed unless `insecure`,
    which is for loopback targets only.  history_share: part of the line (0 to 1) that history may
    take beside live data.  rate_bytes_per_s: upper bound of what is sent, 0 for none.
    streams: what this destination takes; telemetry needs event, which carries the catalogue.
    filter: what of them, where the line is thin.
    evidence: files it is sent unasked, none, thumbnail (JPEG of at most 20 kB), picture, or clip
    for all; evidence_bytes_per_day: at most so much of them, 0 for no limit. The rest on request.
    copy_alarms: whether live alarms go a second time, on a connection of their own, where the round
    trip is long: a lost packet then delays none of them.
    """

    name: Name
    target: Annotated[str, AfterValidator(_target)]
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    history_share: Fraction = 0.5
    rate_bytes_per_s: int = Field(default=0, ge=0)
    streams: tuple[StreamName, ...] = ("alarm", "event", "telemetry", "evidence")
    filter: FilterConfig | None = None
    evidence: Literal["none", "thumbnail", "picture", "clip"] = "clip"
    evidence_bytes_per_day: int = Field(default=0, ge=0)
    copy_alarms: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.streams or len(set(self.streams)) < len(self.streams):
            raise ValueError("streams must name at least one stream, and each once")
        if "telemetry" in self.streams and "event" not in self.streams:
            raise ValueError(
                "streams names telemetry without event, which carries the catalogue of points:"
                ' add "event"'
            )
        return self

    @model_validator(mode="after")
    def _secured(self) -> Self:
        files = {"ca": self.ca, "certificate": self.certificate, "key": self.key}
        given = [name for name, path in files.items() if path is not None]
        if self.insecure:
            host, _ = split_address(self.target)
            if not is_loopback(host):
                raise ValueError(
                    f"insecure = true is for loopback targets only, not {shown(self.target)}:"
                    " give ca, certificate and key"
                )
            if given:
                raise ValueError(f"insecure = true and {', '.join(given)} exclude each other")
        elif len(given) < len(files):
            missing = ", ".join(name for name in files if name not in given)
            raise ValueError(
                f"lacks {missing}: mutual TLS needs ca, certificate and key"
                " (insecure = true instead, for loopback targets only)"
            )
        return self


class MetricsConfig(Section):
    """[metrics]: Prometheus metrics and health over HTTP, on this machine only; port 0: any."""

    listen: Annotated[str, AfterValidator(_loopback_address)] = "127.0.0.1:9464"

    @property
    def host(self) -> str:
        """Address to listen on."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """Port to listen on."""
        return split_address(self.listen)[1]


class RecordingConfig(Section):
    """[recording]: how long and how much of cameras with `record` is kept.

    folder: of the files; data_dir/recordings unless given.  quota_gb: in 2^30 bytes, for all
    cameras together.  retention_days: GB 30871-2022, 5.2.11 and the site's own rules ask for a
    month or more.  segment_s: length of a file.  reserve_gb: free space below which nothing is
    recorded, because alarms need the disk more.
    """

    folder: str = ""
    quota_gb: Quota = 100.0
    retention_days: float = Field(default=30.0, ge=30, le=3660, allow_inf_nan=False)
    segment_s: float = Field(default=300.0, ge=10, le=3600, allow_inf_nan=False)
    reserve_gb: float = Field(default=1.0, ge=0, le=1 << 20, allow_inf_nan=False)


class BufferSettings(Section):
    """[buffer]: how long and how much is kept. Quotas in GB (2^30 bytes) for each stream.

    Defaults are buffer.policy.BufferConfig's.  commit_ms: the longest a value waits for the disk.
    *_quota_hours: most that is kept of a stream, acknowledged or not; no limit unless given.
    rollup_quota_gb: of the one-minute rollup, 0 makes none.
    """

    retention_days: float = Field(default=30.0, gt=0, le=3660, allow_inf_nan=False)
    commit_ms: int = Field(default=100, ge=1, le=10_000)
    alarm_quota_gb: Quota = 0.25
    event_quota_gb: Quota = 1.0
    telemetry_quota_gb: Quota = 8.0
    evidence_quota_gb: Quota = 4.0
    alarm_quota_hours: Hours | None = None
    event_quota_hours: Hours | None = None
    telemetry_quota_hours: Hours | None = None
    evidence_quota_hours: Hours | None = None
    rollup_quota_gb: float = Field(default=2.0, ge=0, le=1 << 20, allow_inf_nan=False)

    def to_config(self) -> BufferConfig:
        """Make the buffer's own configuration."""
        quotas = {
            Stream.ALARM: self.alarm_quota_gb,
            Stream.EVENT: self.event_quota_gb,
            Stream.TELEMETRY: self.telemetry_quota_gb,
            Stream.EVIDENCE: self.evidence_quota_gb,
        }
        hours = {
            Stream.ALARM: self.alarm_quota_hours,
            Stream.EVENT: self.event_quota_hours,
            Stream.TELEMETRY: self.telemetry_quota_hours,
            Stream.EVIDENCE: self.evidence_quota_hours,
        }
        return BufferConfig(
            commit_ms=self.commit_ms,
            quota_hours={stream: most for stream, most in hours.items() if most is not None},
            retention_days=self.retention_days,
            quota_bytes={stream: round(quota * GIB) for stream, quota in quotas.items()},
            rollup_quota_bytes=round(self.rollup_quota_gb * GIB),
        )


class LogConfig(Section):
    """[log]: the gateway's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
