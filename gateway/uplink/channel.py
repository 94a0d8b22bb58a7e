"""Channels to a destination, and what gRPC's errors mean in one clear sentence.

Guarantees: each channel has a connection of its own (grpc.use_local_subchannel_pool; else gRPC
shares one socket between the lanes, and an alarm waits behind telemetry: 9 s at 256 kbit/s instead
of 0.1 s, measured). Without TLS only loopback targets are reached. Files are read anew for each
channel, so that a renewed certificate needs no restart.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio

from drivers.loopback import is_loopback
from gateway.uplink.patience import Ended

T = TypeVar("T")
METHOD = "/plantgate.wire.v1.Uplink/Exchange"

_untyped: Any = grpc  # these functions of grpcio have no annotations

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # Below the session's own 10 s silence rule, for lines where it cannot act (no session yet).
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.lb_policy_name", "pick_first"),
)

# A human has to act on these; hammering the receiver helps nobody. INTERNAL is what an HTTP/2
# proxy makes of a missing client certificate.
_PERMANENT = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
_LONGEST_DETAIL = 200
# What grpcio itself says where a write met a stream that had just ended, in place of the status.
_LOCAL_FAILURE = "Internal error from Core"


class Destination(Protocol):
    """One [[uplink]] of the site file. `gateway.config.model.UplinkConfig` is one."""

    @property
    def name(self) -> str:
        """Name of the destination; names its cursor in the log."""
        ...

    @property
    def target(self) -> str:
        """Receiver as host:port."""
        ...

    @property
    def ca(self) -> Path | None:
        """PEM file of the authority that signs receivers."""
        ...

    @property
    def certificate(self) -> Path | None:
        """PEM file of the gateway's own certificate."""
        ...

    @property
    def key(self) -> Path | None:
        """PEM file of its private key."""
        ...

    @property
    def insecure(self) -> bool:
        """No TLS; loopback targets only."""
        ...

    @property
    def history_share(self) -> float:
        """Share of history in what live telemetry leaves, 0 to 1."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """Names of the streams that the destination takes: alarm, event, telemetry, evidence."""
        ...

    @property
    def evidence(self) -> str:
        """Files it is sent unasked: one of file_policy.KINDS."""
        ...

    @property
    def evidence_bytes_per_day(self) -> int:
        """Most bytes of them a day; 0 for no limit."""
        ...

    @property
    def copy_alarms(self) -> bool:
        """Whether live alarms go twice on a line with a long round trip."""
        ...

    @property
    def rate_bytes_per_s(self) -> int:
        """Limit on bulk; 0 for none."""
        ...


class _Ended(Protocol):
    """What is asked of a grpc.aio stream that has ended."""

    def code(self) -> Coroutine[object, None, grpc.StatusCode]: ...

    def details(self) -> Coroutine[object, None, str | None]: ...


class _Stream(_Ended, Protocol):
    def add_done_callback(self, callback: Callable[[_Ended], None]) -> None: ...


class Parting:
    """How a stream ended, in the receiver's own words.

    Where a write meets a stream that has just ended, grpcio (to 1.85 at least) puts INTERNAL
    "Internal error from Core" in place of the status that it has received (grpc issue 36066; 188 of
    200 streams that were refused while they wrote, measured). Its callbacks run at each status it
    takes, the first included, so that one is kept here.
    """

    def __init__(self, call: _Stream) -> None:
        """call: a grpc.aio stream that has just been made."""
        self._heard: tuple[grpc.StatusCode, str] | None = None
        call.add_done_callback(self._note)

    def words(self, code: grpc.StatusCode, details: str | None) -> tuple[grpc.StatusCode, str]:
        """Code and details of the end, given those that the call has now."""
        if details == _LOCAL_FAILURE and self._heard is not None:
            return self._heard
        return code, details or ""

    def _note(self, call: _Ended) -> None:
        code, details = _done(call.code()), _done(call.details())
        if self._heard is None and code is not None and details != _LOCAL_FAILURE:
            self._heard = code, details or ""


def _done(answer: Coroutine[object, None, T]) -> T | None:
    """Result of a coroutine that need not wait; grpc.aio has no other way to ask an ended call."""
    try:
        answer.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    answer.close()
    return None


class ChannelError(Exception):
    """The channel cannot even be tried; the text says why and what would help."""


def open_channel(destination: Destination) -> grpc.aio.Channel:
    """Make a channel with a connection of its own; connects at the first call.

    Raises ChannelError where files are missing or unreadable, or TLS is missing.
    """
    if destination.insecure:
        if not is_loopback(destination.target.rpartition(":")[0].strip("[]")):
            raise ChannelError(
                f"{destination.target} is no loopback address: without TLS only loopback targets "
                "are reached. Give ca, certificate and key instead of insecure = true."
            )
        return grpc.aio.insecure_channel(destination.target, options=_OPTIONS)
    credentials = _untyped.ssl_channel_credentials(
        root_certificates=_read("ca", destination.ca),
        private_key=_read("key", destination.key),
        certificate_chain=_read("certificate", destination.certificate),
    )
    return grpc.aio.secure_channel(destination.target, credentials, options=_OPTIONS)


def explain(code: grpc.StatusCode, details: str, destination: Destination) -> Ended:
    """Turn a gRPC status into one clear sentence."""
    detail = " ".join(details.split())[:_LONGEST_DETAIL]
    target = destination.target
    if (ended := _explain_details(details, detail, destination)) is not None:
        return ended
    match code:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            text = f"{target} refuses this gateway's certificate or id: {detail}"
        case grpc.StatusCode.INTERNAL:
            text = (
                f"{target} answered with an internal error; a proxy does so when it gets no client "
                f"certificate ({detail})."
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            text = f"{target} is no plantgate receiver ({detail})."
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            text = f"{target} cannot work with what this gateway says: {detail}"
        case grpc.StatusCode.UNAVAILABLE:
            text = f"{target} cannot be reached ({detail})."
            if "Socket closed" in details and not destination.insecure:
                # In TLS 1.3 a server refuses a client's certificate after the handshake, and gRPC
                # loses the alert that says so: it looks like a receiver that goes away.
                text += (
                    f" If it is up, it does not accept the certificate {destination.certificate}."
                )
        case grpc.StatusCode.OK:
            text = f"{target} ended the connection."
        case _:
            text = f"{target} ended the connection: {code.name.lower()} ({detail})."
    return Ended(text, permanent=code in _PERMANENT)


def _explain_details(details: str, detail: str, destination: Destination) -> Ended | None:
    """Read causes that gRPC names in words only."""
    target = destination.target
    lowered = details.lower()
    if "alert" in lowered and ("certificate" in lowered or "unknown ca" in lowered):
        text = f"{target} refuses the certificate {destination.certificate} ({detail})."
        return Ended(text, permanent=True)
    if "ssl_error_ssl" in lowered or "peer name" in lowered:
        text = (
            f"The certificate of {target} is refused: it is not signed by {destination.ca}, or "
            f"names another host ({detail})."
        )
        return Ended(text, permanent=True)
    if details == _LOCAL_FAILURE:
        return Ended(f"{target} ended the connection while it was written to.", unclear=True)
    return None


def _read(what: str, path: Path | None) -> bytes:
    if path is None:
        raise ChannelError(f"{what} is missing: TLS needs ca, certificate and key.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChannelError(f"{what} {path} cannot be read: {error.strerror}.") from None
