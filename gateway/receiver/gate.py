"""The door: which gateway may speak, and its meter. One meter a gateway, over both its lanes.

Without an enrolment list every gateway is let in that its certificate lets in. `replace` takes a
new list while the receiver runs; meters of unchanged quotas go on counting.
"""

from __future__ import annotations

from gateway.receiver.enrolment import Enrolment
from gateway.receiver.quota import Meter, Quota


class Gate:
    """Enrolment and quotas of one receiver."""

    def __init__(self, enrolment: Enrolment | None = None, quota: Quota | None = None) -> None:
        """quota: of each gateway that has none of its own in the list."""
        self._enrolment = enrolment
        self._quota = quota or Quota()
        self._meters: dict[str, Meter] = {}

    def refusal(self, gateway: str, enterprise: str, certificate: bytes | None) -> str:
        """Say why this gateway may not speak, or nothing. certificate: DER, None without mTLS."""
        if self._enrolment is None:
            return ""
        return self._enrolment.refusal(gateway, enterprise, certificate)

    def meter(self, gateway: str) -> Meter:
        """Meter of one gateway."""
        enrolled = self._enrolment.gateways.get(gateway) if self._enrolment else None
        quota = enrolled.quota if enrolled else self._quota
        meter = self._meters.get(gateway)
        if meter is None or meter.quota != quota:
            meter = self._meters[gateway] = Meter(quota)
        return meter

    def replace(self, enrolment: Enrolment) -> None:
        """Take a new list; who is connected and no longer on it is for the caller to end."""
        self._enrolment = enrolment
        for gateway in [one for one in self._meters if one not in enrolment.gateways]:
            del self._meters[gateway]
