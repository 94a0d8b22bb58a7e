"""What a load balancer and a person with grpcurl ask: grpc.health.v1 and server reflection.

Guarantees: SERVING while the receiver takes Exchanges and its store takes what they bring;
NOT_SERVING while the store fails or hangs, and from the moment the receiver stops. With
mTLS both ask for a client certificate like everything else on the port; reflection shows the wire
schema, which is public, and nothing of what is stored.
"""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.wire.v1 import uplink_pb2  # noqa: F401  # registers the schema that reflection shows

_health: Any = health  # these packages have no annotations
_grpc: Any = health_pb2_grpc
_reflection: Any = reflection


class Health:
    """Both services on one grpc.aio server. `begin` before the server starts."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._servicer = _health.aio.HealthServicer()

    async def begin(self, server: object) -> None:
        """Add both services and say SERVING."""
        serving = health_pb2.HealthCheckResponse.SERVING
        await self._servicer.set(self._service, serving)
        _grpc.add_HealthServicer_to_server(self._servicer, server)
        names = (self._service, _health.SERVICE_NAME, _reflection.SERVICE_NAME)
        _reflection.enable_server_reflection(names, server)

    async def say(self, *, serving: bool) -> None:
        """Say whether work can be done here, of the service and as a whole."""
        answer = health_pb2.HealthCheckResponse
        status = answer.SERVING if serving else answer.NOT_SERVING
        for service in ("", self._service):
            await self._servicer.set(service, status)

    async def end(self) -> None:
        """Say NOT_SERVING, also to who watches."""
        await self._servicer.enter_graceful_shutdown()
