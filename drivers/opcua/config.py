"""Configuration of an OPC UA device; its points' addresses are in address.py.

Guarantees: every mistake is one clear sentence; a password never stands in the site file; an
unencrypted link needs `insecure = true` in so many words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from drivers.contract import StrictModel
from drivers.opcua.address import Node, OpcUaAddress

FilePath = Annotated[Path, Field(strict=False)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]


class OpcUaConfig(StrictModel):
    """Keys of a [[device]] with driver = "opcua"."""

    endpoint: str = ""
    endpoints: list[str] = Field(default_factory=list, max_length=8)
    security: Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", "None"] = (
        "Basic256Sha256"
    )
    mode: Literal["SignAndEncrypt", "Sign"] = "SignAndEncrypt"
    insecure: bool = False
    certificate: FilePath | None = None
    key: FilePath | None = None
    server_certificate: FilePath | None = None
    trust: FilePath | None = None
    user: str | None = None
    password_file: FilePath | None = None
    user_certificate: FilePath | None = None
    user_key: FilePath | None = None
    publish_ms: Milliseconds = 500
    sampling_ms: int | None = Field(default=None, ge=0, le=3_600_000)
    queue_size: int | None = Field(default=None, ge=1, le=100_000)
    items_per_call: int = Field(default=1000, ge=1, le=100_000)
    retry_s: int = Field(default=60, ge=1, le=86_400)
    timeout_ms: int = Field(default=4000, ge=100, le=60_000)
    reading: Literal["subscribe", "poll"] = "subscribe"
    items_per_subscription: int = Field(default=0, ge=0, le=1_000_000)
    heartbeat_s: int = Field(default=60, ge=0, le=86_400)
    time: Literal["source", "gateway"] = "source"
    history: bool = True
    alarms: bool = False
    state_dir: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.endpoint) == bool(self.endpoints):
            raise ValueError("endpoint (one server) or endpoints (a redundant set) is required")
        for endpoint in self.servers:
            address = urlsplit(endpoint)
            if address.scheme != "opc.tcp" or not address.hostname:
                raise ValueError(f"endpoint must be opc.tcp://host:port/path, not {endpoint!r}")
            if address.username or address.password:
                raise ValueError(
                    "endpoint must not hold user or password: use user and password_file"
                )
        return self

    @model_validator(mode="after")
    def _known_user(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together; the password is never in here")
        if (self.user_certificate is None) != (self.user_key is None):
            raise ValueError("user_certificate and user_key go together")
        if self.user_certificate is not None and self.user is not None:
            raise ValueError("a user is known by user or by user_certificate, not by both")
        if self.user_certificate is not None and self.security == "None":
            raise ValueError(
                "user_certificate needs a secured channel: what its key signs is bound to the"
                " server's certificate"
            )
        return self

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if self.security == "None":
            if not self.insecure:
                raise ValueError('security = "None" is only allowed together with insecure = true')
            return self
        if self.certificate is None or self.key is None:
            raise ValueError("certificate and key (of our application instance) are required")
        if self.trust is None and self.server_certificate is None:
            raise ValueError("trust (a folder) or server_certificate must say whom to trust")
        return self

    @property
    def servers(self) -> tuple[str, ...]:
        """Endpoint URLs, the preferred one first."""
        return (self.endpoint,) if self.endpoint else tuple(self.endpoints)

    @property
    def sampling_interval_ms(self) -> int:
        """Requested sampling interval: the publishing interval unless set; 0 is every change."""
        return self.publish_ms if self.sampling_ms is None else self.sampling_ms

    @property
    def item_queue_size(self) -> int:
        """Values kept per item at the server; by default two publishing intervals' worth."""
        fastest_ms = max(self.sampling_interval_ms, 10)  # where every change counts, 100 a second
        return self.queue_size or max(2, -(-2 * self.publish_ms // fastest_ms))


__all__ = ["Node", "OpcUaAddress", "OpcUaConfig"]
