"""How long the telemetry quota lasts at the rate a site asks for. Pure arithmetic.

The rate of a device is its points divided by its period (poll_ms or publish_ms), for subscriptions
the most that can come; a camera gives each of its points once a second, whatever it analyses.
Bytes a value depend on the signals: plant data in keys and deltas took 0.31 at 1 s and 0.46 at
100 ms (measured), noise that fills every bit of a float32 some 2. The first judges whether the
retention fits, the second warns that it may not.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.problems import ConfigProblem
from gateway.config.site import Site
from vision.tags import SAMPLES_PER_S, all_tags

BYTES_PER_VALUE = 0.5
DEAR_BYTES_PER_VALUE = 2.0
DAY_S = 86_400
GIB = 1 << 30


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
        rate += len(all_tags(camera)) * SAMPLES_PER_S
    per_day = rate * BYTES_PER_VALUE * DAY_S
    days = site.buffer.telemetry_quota_gb * GIB / per_day if per_day else None
    return Forecast(rate, per_day, days, tuple(unknown))


def shortfall(site: Site, expected: Forecast) -> tuple[ConfigProblem | None, ConfigProblem | None]:
    """Judge the retention asked for against the telemetry quota: (problem, warning)."""
    days, asked = expected.telemetry_days, site.buffer.retention_days
    dear = DEAR_BYTES_PER_VALUE / BYTES_PER_VALUE
    if days is None or days >= asked * dear:
        return None, None
    quota, rate = site.buffer.telemetry_quota_gb, expected.values_per_s
    key = "buffer.telemetry_quota_gb"
    need = expected.telemetry_bytes_per_day * asked / GIB
    if days >= asked:
        said = (
            f"{quota:g} GB hold retention_days = {asked:g} of {rate:,.0f} values/s of usual"
            f" signals, but only {days / dear:.1f} days of very noisy ones;"
            f" {need * dear:.1f} would be safe"
        )
        return None, ConfigProblem(str(site.path), 0, key, said)
    said = (
        f"{quota:g} GB hold about {days:.1f} days of {rate:,.0f} values/s, less than"
        f" retention_days = {asked:g}: give at least {need:.1f}"
    )
    return ConfigProblem(str(site.path), 0, key, said), None
