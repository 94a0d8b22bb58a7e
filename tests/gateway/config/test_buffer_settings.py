"""[buffer] of the site file becomes the buffer's own configuration."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from buffer.contract import Stream
from buffer.policy import GIB, BufferConfig
from gateway.config.model import BufferSettings


def test_the_defaults_are_the_buffers() -> None:
    assert BufferSettings().to_config() == BufferConfig()


def test_quotas_in_bytes_and_hours_go_to_their_streams() -> None:
    config = BufferSettings(
        telemetry_quota_gb=0.5, alarm_quota_hours=48.0, telemetry_quota_hours=720.0
    ).to_config()
    assert config.quota_bytes[Stream.TELEMETRY] == GIB // 2
    assert config.quota_hours == {Stream.ALARM: 48.0, Stream.TELEMETRY: 720.0}


def test_a_quota_below_an_hour_is_refused() -> None:
    with pytest.raises(ValidationError):
        BufferSettings(alarm_quota_hours=0.5)
