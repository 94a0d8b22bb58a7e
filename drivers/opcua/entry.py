"""What the gateway calls: the kind of a point, the check of an entry, the making of a driver.

Guarantees: importing this imports neither asyncua nor cryptography, so that a site without OPC UA
pays nothing; `check` reads files and touches no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drivers.contract import Clock, Driver, DriverPoint, Problem, ValueKind
from drivers.opcua.config import OpcUaAddress, OpcUaConfig


def open_driver(
    name: str, config: OpcUaConfig, points: Sequence[DriverPoint[OpcUaAddress]], clock: Clock
) -> Driver:
    """Make a driver; `run` connects."""
    from drivers.opcua.batches import BatchMaker
    from drivers.opcua.client import quiet_library
    from drivers.opcua.device import Device
    from drivers.opcua.driver import OpcUaDriver
    from drivers.opcua.events import EventMaker
    from drivers.opcua.state import State

    quiet_library()
    rates = f"{config.publish_ms} {config.sampling_interval_ms} {config.item_queue_size}"
    return OpcUaDriver(
        Device(
            name=name,
            config=config,
            points=tuple(points),
            clock=clock,
            batches=BatchMaker(points, stamp_here=config.time == "gateway"),
            events=EventMaker(name, ", ".join(config.servers)),
            state=State(config.state_dir, name, points, rates),
        )
    )


def kind_of(address: OpcUaAddress) -> ValueKind:
    """Column type of a point."""
    return address.kind()


def check(config: OpcUaConfig, points: Sequence[DriverPoint[OpcUaAddress]]) -> list[Problem]:
    """Read the files that the configuration names; reports those that cannot be used."""
    problems = [] if points else [Problem(0, "points", "the point table has no point")]
    for column, complaint in _complaints(config):
        problems.append(Problem(0, column, complaint))
    return problems


def _complaints(config: OpcUaConfig) -> Iterator[tuple[str, str]]:
    from drivers.opcua.trust import (
        check_store,
        load_certificate,
        load_identity,
        load_user,
        read_password,
    )

    if config.certificate is not None and config.key is not None:
        yield from _complaint("certificate", load_identity, config.certificate, config.key)
    if config.server_certificate is not None:
        yield from _complaint("server_certificate", load_certificate, config.server_certificate)
    if config.password_file is not None:
        yield from _complaint("password_file", read_password, config.password_file)
    if config.user_certificate is not None and config.user_key is not None:
        files = config.user_certificate, config.user_key
        yield from _complaint("user_certificate", load_user, *files)
    if config.trust is not None and not config.trust.is_dir():
        yield "trust", f"the trust folder {config.trust} does not exist"
    elif config.trust is not None:
        yield from _complaint("trust", check_store, config.trust)


def _complaint(column: str, read: Callable[..., object], *paths: Path) -> Iterator[tuple[str, str]]:
    from drivers.opcua.trust import TrustError

    try:
        read(*paths)
    except TrustError as error:
        yield column, str(error)


__all__ = ["check", "kind_of", "open_driver"]
