"""Make the uplinks of a site; nothing connects yet."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from buffer.store import Buffer
from drivers.contract import Clock
from gateway.config.model import UplinkConfig
from gateway.config.site import Site
from gateway.model.clock import ServerTime
from gateway.observe.health import Health
from gateway.observe.log import logger
from gateway.pipeline import Pipeline
from gateway.rules.risk import EnterpriseGrade, RiskLevel, RiskView
from gateway.runtime.clock import boot_id
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.uplink.pictures import PictureSource
from gateway.uplink.reporting import Closer, Reporting
from gateway.uplink.thin import Choice

_LOG = logger("app")


@dataclass(frozen=True, slots=True)
class Around:
    """What every uplink of a gateway shares: software's name/version, clock, who hears of times."""

    software: str
    clock: Clock
    times: Callable[[ServerTime], None]
    pictures: PictureSource


def make_uplinks(
    site: Site, buffer: Buffer, pipeline: Pipeline, health: Health, around: Around
) -> dict[str, Uplink]:
    """One for each [[uplink]], by name; what happens to its link becomes an event."""

    def note(kind: str, text: str, attributes: Mapping[str, str]) -> None:
        (_LOG.info if kind == "link.up" else _LOG.warning)(text, kind=kind)
        pipeline.note_uplink(kind, text, attributes)

    identity = GatewayIdentity(
        gateway_id=site.gateway.id,
        enterprise=site.gateway.enterprise,
        software=around.software,
        boot_id=boot_id(),
    )
    uplinks = {
        uplink.name: Uplink(
            uplink,
            log=buffer,
            clock=around.clock,
            identity=identity,
            events=note,
            rng=random.SystemRandom(),
            health=lambda: health.report().state.value,
            choice=_choice(uplink),
            times=around.times,
            volatile=buffer,
            pictures=around.pictures,
        )
        for uplink in site.uplinks
    }
    for config in site.uplinks:
        _follow_risk(config, uplinks[config.name], pipeline)
    return uplinks


def _follow_risk(config: UplinkConfig, uplink: Uplink, pipeline: Pipeline) -> None:
    """Have a destination reported to more closely while grade or risk is high."""
    normal, raised = _choice(config), config.filter.raised if config.filter is not None else None
    if normal is None or raised is None:
        return
    closer = replace(
        normal,
        on_change=normal.on_change if raised.on_change is None else raised.on_change,
        deadband_percent=_given(raised.deadband_percent, normal.deadband_percent),
        every_ns=round(_given(raised.every_s, normal.every_ns / 1e9) * 1e9),
    )
    grade = EnterpriseGrade(raised.grade) if raised.grade else None
    unit_risk = RiskLevel(raised.unit_risk) if raised.unit_risk else None
    reporting = Reporting(normal, Closer(closer, grade, unit_risk))

    def heard(view: RiskView) -> None:
        turn = reporting.feed(view)
        if turn is not None:
            uplink.choose(turn.choice, turn.why, raised=turn.raised)

    pipeline.risk.follow(config.name, heard, lambda: reporting.raised)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _choice(uplink: UplinkConfig) -> Choice | None:
    if (chosen := uplink.filter) is None:
        return None
    return Choice(
        points=chosen.points,
        places=chosen.places,
        hazards=chosen.hazards,
        on_change=chosen.on_change,
        deadband_percent=chosen.deadband_percent,
        every_ns=round(chosen.every_s * 1e9),
    )
