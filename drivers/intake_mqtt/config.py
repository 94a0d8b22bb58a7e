"""What a site file may say about an MQTT intake, and what is wrong with it.

Guarantees: no clear text beyond this machine unless `insecure = true`; the password stands in a
file; `check` reads files and connects to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from drivers.broker import broker_doubt
from drivers.contract import DriverPoint, Problem
from drivers.host_form import Host
from drivers.intake.mapping import MappingError, load
from drivers.intake.settings import ExternalAddress, IntakeConfig, check_intake, read_secret
from drivers.intake_mqtt.topics import check_filter
from drivers.wording import suggestion

WARNING = "warning: "


class MqttIntakeConfig(IntakeConfig):
    """Keys of a [[device]] with driver = "intake_mqtt".

    client_id: fixed, and of no other client: the broker keeps what came while we were away by it.
    topics: topic filter → table of the mapping (or record type, or samples).
    ca: of the broker's certificate; TLS if given.  certificate, key: ours, if the broker asks.
    keep_alive_s: a broker that is silent for twice as long is lost.
    """

    host: Host = Field(min_length=1)
    port: int = Field(default=8883, ge=1, le=65_535)
    client_id: str = Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")
    topics: dict[str, str] = Field(min_length=1)
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    keep_alive_s: int = Field(default=10, ge=1, le=600)
    connect_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    max_message_kb: int = Field(default=1024, ge=1, le=65_536)

    @field_validator("topics")
    @classmethod
    def _filters(cls, value: dict[str, str]) -> dict[str, str]:
        for topic in value:
            wrong = check_filter(topic)
            if wrong:
                raise ValueError(f"topic {topic!r:.60} {wrong}")
        return value

    @model_validator(mode="after")
    def _safe(self) -> MqttIntakeConfig:
        if said := broker_doubt(self):
            raise ValueError(said)
        return self


def check(
    config: MqttIntakeConfig, points: Sequence[DriverPoint[ExternalAddress]]
) -> list[Problem]:
    """Find mistakes of the entry, the point table, the mapping and the files it names."""
    return [*check_intake(config, points), *_tables(config), *_files(config)]


def _tables(config: MqttIntakeConfig) -> Iterator[Problem]:
    try:
        tables = load(config.mapping, "mqtt").tables
    except MappingError:
        return  # reported by check_intake
    for topic, table in config.topics.items():
        if table not in tables:
            said = f"topic {topic!r:.60}: no table {table!r:.60}; {suggestion(table, tables)}"
            yield Problem(0, "topics", said)


def _files(config: MqttIntakeConfig) -> Iterator[Problem]:
    if config.ca is not None and not config.ca.is_file():
        yield Problem(0, "ca", f"there is no file {config.ca}")
    if config.insecure and config.ca is None:
        yield Problem(0, "insecure", f"{WARNING}insecure = true: anybody on the way reads along")
    if config.password_file is None:
        return
    try:
        read_secret(config.password_file)
    except ValueError as error:
        yield Problem(0, "password_file", str(error))


__all__ = ["MqttIntakeConfig", "check"]
