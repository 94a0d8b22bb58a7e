"""How long the telemetry quota lasts at the rate a site asks for. Pure arithmetic.

The rate of a device is its points divided by its period (poll_ms or publish_ms), for subscriptions
the most that can come. The bytes are those of self-contained one-second blocks, the dearest form
the buffer writes (1.5 to 2.5 bytes a value measured; deltas take a fifth of it), so that a site
that passes has room to spare.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.site import Site, camera_tags

BYTES_PER_VALUE = 2.5
DAY_S = 86_400
GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected load. telemetry_days: None where no rate is known. unknown: devices without one."""

    values_per_s: float
    telemetry_bytes_per_day: float
    telemetry_days: float | None
    unknown: tuple[str, ...]


def forecast(site: Site) -> Forecast:
    """Estimate values per second, bytes per day and the days that the quota holds."""
    rate = 0.0
    unknown: list[str] = []
    for device in site.devices:
        period_ms = next(
            (
                found
                for key in ("poll_ms", "publish_ms")
                if isinstance(found := getattr(device.config, key, None), int | float) and found > 0
            ),
            None,
        )
        if period_ms is None:
            unknown.append(device.name)
        else:
            rate += len(device.rows) * 1000.0 / period_ms
    for camera in site.cameras:
        rate += len(camera_tags(camera)) * camera.analyse_fps
    per_day = rate * BYTES_PER_VALUE * DAY_S
    days = site.buffer.telemetry_quota_gb * GB / per_day if per_day else None
    return Forecast(rate, per_day, days, tuple(unknown))
