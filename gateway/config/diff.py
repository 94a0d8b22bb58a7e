"""What two versions of a site differ in, as far as a running gateway has to act on it.

Guarantees: `Fingerprint.of` holds 32 bytes a device, camera and section and nothing of the site, so
that the site itself can be dropped; `compare` is pure. A device is the same if its driver, its own
configuration and the tags and addresses of its rows are, in order: what a row says about scale,
limits, unit or text is the pipeline's, and the row's number is for messages only. What files hold
that a key names (certificates, models, passwords) is not looked at, only the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.site import Device, Site

if TYPE_CHECKING:
    from pydantic import BaseModel

RESTART_SECTIONS = ("gateway", "metrics", "recording", "buffer", "log", "uplink", "work", "notify",
                    "console")  # fmt: skip
"""Sections whose change is not applied to a running gateway."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """SHA-256 of each section that needs a restart, and of each device and camera, by name."""

    sections: Mapping[str, bytes]
    sources: Mapping[str, bytes]

    @classmethod
    def of(cls, site: Site) -> Fingerprint:
        """Fingerprint a site; 100,000 rows take some 0.3 s."""
        sections = {
            "gateway": _of_models([site.gateway]),
            "metrics": _of_models([site.metrics]),
            "recording": _of_models([site.recording]),
            "buffer": _of_models([site.buffer]),
            "log": _of_models([site.log]),
            "uplink": _of_models(site.uplinks),
            "work": _of_work(site),
            "notify": _of_notify(site),
            "console": _of_models([] if site.console is None else [site.console]),
        }
        sources = {device.name: _of_device(device) for device in site.devices}
        sources |= {camera.name: _of_models([camera]) for camera in site.cameras}
        return cls(sections, sources)


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of devices and cameras by what is to be done; sections that need a restart."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    restart: tuple[str, ...]

    @property
    def ending(self) -> tuple[str, ...]:
        """Sources that run and must end."""
        return self.removed + self.changed

    @property
    def starting(self) -> tuple[str, ...]:
        """Sources to start once those have ended."""
        return self.changed + self.added


def compare(old: Fingerprint, new: Fingerprint) -> Difference:
    """Tell what is to be done to get from old to new."""
    was, now = old.sources, new.sources
    both = [name for name in now if name in was]
    return Difference(
        added=tuple(name for name in now if name not in was),
        removed=tuple(name for name in was if name not in now),
        changed=tuple(name for name in both if was[name] != now[name]),
        unchanged=tuple(name for name in both if was[name] == now[name]),
        restart=tuple(n for n in RESTART_SECTIONS if old.sections[n] != new.sections[n]),
    )


def _of_work(site: Site) -> bytes:
    """Of special work, with the rules it judges by: its monitor is made once."""
    if site.work is None:
        return b""
    changed = [(rule.name, rule.value) for rule in site.rules.changed()]
    parts = (site.work.site, site.work.almanac, sorted(site.work.gases.names()), changed)
    return hashlib.sha256(repr(parts).encode()).digest()


def _of_notify(site: Site) -> bytes:
    """Of notifiers, policy and words; the roster is applied to a running gateway."""
    if site.notify is None:
        return b""
    parts = (site.notify.config, site.notify.notifiers, site.notify.words)
    return hashlib.sha256(repr(parts).encode()).digest()


def _of_device(device: Device) -> bytes:
    digest = hashlib.sha256()
    for part in (device.driver.name, device.config.model_dump_json()):
        digest.update(part.encode() + b"\0")
    for row in device.rows:
        digest.update(f"{row.tag}\0{row.address.model_dump_json()}\0".encode())
    return digest.digest()


def _of_models(models: Iterable[BaseModel]) -> bytes:
    digest = hashlib.sha256()
    for model in models:
        digest.update(f"{type(model).__name__}\0{model.model_dump_json()}\0".encode())
    return digest.digest()
