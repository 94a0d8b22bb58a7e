"""Whether a host name has an address: apart from the connection, which is another cause.

Guarantees: bounded, whatever the name servers do. The thread that asks them may take longer, as the
system's resolver does.
"""

from __future__ import annotations

import asyncio
import socket

from gateway.doctor.causes import why_not

STEP_S = 8.0


async def addresses_of(host: str, port: int, patience_s: float = STEP_S) -> list[str] | str:
    """Addresses of a host, or why there are none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience_s):
            places = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"no name server answers for {host} within {patience_s:g} s (name resolution)"
    except OSError as error:
        return why_not(error)
    except UnicodeError:
        return f"{host} is no host name (name resolution)"
    return sorted({str(place[4][0]) for place in places})


__all__ = ["STEP_S", "addresses_of"]
