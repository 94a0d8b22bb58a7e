"""Makes the notifiers of a site and the service that uses them. Nothing connects yet."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from drivers.contract import Clock
from gateway.config.notify import MqttNotifier, NotifyParts, SoundNotifier, WebhookNotifier
from gateway.config.notify import Notifier as NotifierConfig
from gateway.duty.desk import STATE, DutyDesk
from gateway.notify.contract import Notifier
from gateway.notify.service import DutyService, Enterprise

FOLDER = "notify"
"""Folder of the tones in the data directory."""
ALARM_ID_BYTES = 16


def make_service(parts: NotifyParts, code: str, data_dir: Path, clock: Clock) -> DutyService:
    """Service of a site; `code` is the enterprise's 统一社会信用代码."""
    desk = DutyDesk(parts.roster, parts.config.policy())
    enterprise = Enterprise(parts.config.enterprise_name, code)
    notifiers: Mapping[str, Notifier] = {
        one.name: make_notifier(one, data_dir, clock) for one in parts.notifiers
    }
    new_id = partial(secrets.token_bytes, ALARM_ID_BYTES)
    return DutyService(desk, (parts.words, enterprise), notifiers, clock, new_id)


def make_notifier(config: NotifierConfig, data_dir: Path, clock: Clock) -> Notifier:
    """Notifier of a [[notifier]]; only its own library is imported."""
    match config:
        case WebhookNotifier():
            from gateway.notify.webhook import Webhook

            return Webhook(config, clock)
        case MqttNotifier():
            from gateway.notify.mqtt import Mqtt

            return Mqtt(config)
        case SoundNotifier():
            from gateway.notify.sound import Sound

            return Sound(config, data_dir / FOLDER)


__all__ = ["STATE", "make_notifier", "make_service"]
