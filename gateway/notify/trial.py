"""A message to try a notifier with: marked as a test. Pure."""

from __future__ import annotations

from drivers.contract import Quality
from gateway.duty.roster import Recipient
from gateway.duty.tell import Kind, Tell
from gateway.duty.words import Message, Words
from gateway.model.alarm import AlarmChange, AlarmState


def trial_message(
    words: Words, enterprise: str, who: tuple[str, str, str], wall_ns: int
) -> Message:
    """Words of a test alarm. who: person, contact and notifier."""
    person, contact, notifier = who
    active = AlarmState.UNACKNOWLEDGED_ACTIVE
    subject = AlarmChange(
        alarm_id=wall_ns.to_bytes(16, "big"), source="plantgate/notify-test", condition="high",
        state=active, previous_state=AlarmState.NORMAL, priority=4, value=1.0,
        quality=int(Quality.GOOD), limit=0.0, unit="", source_time_ns=wall_ns,
        gateway_time_ns=wall_ns, rule="notify.test/1", text="A message to try a notifier.",
        declaration="notify-test",
    )  # fmt: skip
    tell = Tell(f"test/{wall_ns:x}/1", "test", Kind.TEST, Recipient(person, notifier, contact),
                subject, 0, 0)  # fmt: skip
    return words.message(tell, enterprise, enterprise)
