"""The REST interface: what can be read, and the commands, as rights.py allows them.

Every route is made from the tables in rights.py; a route that is not there cannot be reached. What
the gateway refuses comes back as its sentence with status 409; where it does not answer, with 503.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from gateway.config.users import Role
from gateway.console.bodies import BODIES, Body, Problem, request_of
from gateway.console.rights import COMMANDS, READING, may
from gateway.console.services import Services, caller_of, of

Answer = Mapping[str, Any]
Name = Annotated[str, Query(min_length=1, max_length=256)]
Time = Annotated[int, Query(ge=0, le=1 << 62, description="ns since 1970, UTC")]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
MOST_PAGE = 500
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is no text."},
    401: {"model": Problem, "description": "Nobody is signed in."},
    403: {"model": Problem, "description": "The role is not enough."},
    404: {"model": Problem, "description": "There is no such thing."},
    409: {"model": Problem, "description": "The gateway refuses; its sentence."},
    413: {"model": Problem, "description": "The request is too large."},
    422: {"model": Problem, "description": "The request is wrong; a sentence."},
    503: {"model": Problem, "description": "The gateway does not answer."},
}
INERT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""For documents that the gateway wrote: nothing in them runs."""
SHOWN = {"image/jpeg", "image/png", "video/mp4"}


def needs(role: Role) -> Callable[[Request], None]:
    """Make a dependency that refuses whoever has less than a role."""

    def check(request: Request) -> None:
        caller = caller_of(request)
        if not may(caller.role, role):
            raise HTTPException(403, f"this needs the role {role.value} {role.zh}")

    return check


def state(request: Request) -> Answer:
    """Whole picture, as the live stream begins with."""
    services = of(request)
    frame = services.link.view.whole()
    if frame is None or services.link.view.stale(services.clock.monotonic_ns()):
        raise HTTPException(503, services.link.view.said or "the gateway is silent")
    return frame.content


def live(request: Request) -> Response:
    """Server-sent events: state, change, beat, gone, signed_out."""
    services, caller = of(request), caller_of(request)
    if not services.live.admits(caller.name):
        raise HTTPException(503, "too many pages are open already: close one")
    last_id = request.headers.get("last-event-id", "")
    pieces = services.live.stream(caller.name, last_id, lambda: services.door.still(caller))
    return StreamingResponse(pieces, media_type="text/event-stream")


async def alarms(
    request: Request, most: Annotated[int, Query(ge=1, le=MOST_PAGE)] = MOST_PAGE
) -> Answer:
    """Alarms that are not plainly normal, most urgent first."""
    return await of(request).link.ask({"ask": "alarm.list", "most": most})


async def alarm_detail(
    request: Request,
    key: Annotated[str, Query(max_length=512)] = "",
    alarm_id: Annotated[str, Query(max_length=64)] = "",
) -> Answer:
    """One alarm, by its key or its id, with its rule, evidence and history."""
    named = {"key": key} if key else {"alarm_id": alarm_id}
    return await of(request).link.ask({"ask": "alarm.detail", **named})


async def calls(request: Request) -> Answer:
    """Alarms that nobody has acknowledged, and whom they were told."""
    return await of(request).link.ask({"ask": "notify.calls"})


async def values(
    request: Request,
    search: Annotated[str, Query(max_length=100)] = "",
    page: Annotated[int, Query(ge=0, le=100_000)] = 0,
    size: Annotated[int, Query(ge=1, le=MOST_PAGE)] = 100,
) -> Answer:
    """Newest value of points whose name or description holds a text, by pages."""
    return await of(request).link.ask(
        {"ask": "values", "search": search, "page": page, "size": size}
    )


async def history(request: Request, point: Name, from_ns: Time, to_ns: Time) -> Answer:
    """Minutes of a point: low, mean, high, counts."""
    question = {"ask": "history", "point": point, "from_ns": from_ns, "to_ns": to_ns}
    return await of(request).link.ask(question)


async def permits(request: Request) -> Answer:
    """Permits 作业票."""
    return await of(request).link.ask({"ask": "permit.list"})


async def handling(request: Request) -> Answer:
    """Handling of alarms 消警."""
    return await of(request).link.ask({"ask": "handling.list"})


async def declarations(request: Request) -> Answer:
    """Declared tests and outages."""
    return await of(request).link.ask({"ask": "declare.list"})


async def risk(request: Request) -> Answer:
    """Grade of the enterprise and risk of its units."""
    return await of(request).link.ask({"ask": "risk.show"})


async def evidence(request: Request, sha256: Sha256) -> Response:
    """A picture, a clip or a work record by its SHA-256; ranges are served."""
    services = of(request)
    answer = await services.link.ask({"ask": "evidence", "sha256": sha256})
    media = str(answer.get("media_type", ""))
    path = await asyncio.to_thread(_inside, services, str(answer["path"]))
    if path is None:
        raise HTTPException(404, f"there is no file {sha256} any more")
    headers = {"Content-Security-Policy": INERT, "Cache-Control": "private, max-age=86400"}
    kept = "inline" if media in SHOWN or media == "text/html" else "attachment"
    return FileResponse(
        path, media_type=media or "application/octet-stream", headers=headers,
        filename=sha256, content_disposition_type=kept,
    )  # fmt: skip


async def camera_picture(request: Request, camera: Name) -> Response:
    """A picture of now, taken by the camera's process; JPEG."""
    answer = await of(request).link.ask({"ask": "camera.look", "camera": camera})
    headers = {"X-Time-Ns": str(answer["time_ns"])}
    picture = base64.b64decode(str(answer["jpeg"]))
    return Response(picture, media_type="image/jpeg", headers=headers)


def openapi(request: Request) -> Answer:
    """Describe this interface (OpenAPI 3.1)."""
    found: dict[str, Any] = request.app.openapi()
    return found


def _inside(services: Services, path: str) -> FilePath | None:
    """Path of a file that lies in the data directory's evidence, whatever links say; else None."""
    folder = (services.data_dir / "evidence").resolve()
    found = FilePath(path).resolve()
    return found if found.is_relative_to(folder) and found.is_file() else None


RAW: Mapping[str, tuple[str, ...]] = {
    "/api/live": ("text/event-stream",),
    "/api/evidence/{sha256}": ("image/jpeg", "image/png", "video/mp4", "text/html",
                               "application/json", "application/octet-stream"),
    "/api/cameras/picture": ("image/jpeg",),
}  # fmt: skip
"""What is answered as it is, and its media types."""
Route = Callable[..., Answer | Response | Awaitable[Answer | Response]]
READERS: Mapping[str, Route] = {
    "/api/state": state,
    "/api/live": live,
    "/api/alarms": alarms,
    "/api/alarms/detail": alarm_detail,
    "/api/calls": calls,
    "/api/values": values,
    "/api/history": history,
    "/api/permits": permits,
    "/api/handling": handling,
    "/api/declarations": declarations,
    "/api/risk": risk,
    "/api/evidence/{sha256}": evidence,
    "/api/cameras/picture": camera_picture,
    "/api/openapi.json": openapi,
}


def api_routes() -> APIRouter:
    """Make the routes of both tables."""
    router = APIRouter(responses=PROBLEMS)
    for path, role in READING.items():
        raw = RAW.get(path)
        plain: dict[int | str, dict[str, Any]] = (
            {} if raw is None else {200: {"content": {media: {} for media in raw}}}
        )
        router.add_api_route(
            path, READERS[path], methods=["GET"], dependencies=[Depends(needs(role))],
            response_model=None if raw else dict[str, Any], responses=plain,
            response_class=Response if raw else JSONResponse,
        )  # fmt: skip
    for ask, role in COMMANDS.items():
        router.add_api_route(
            f"/api/commands/{ask}", _command(ask, BODIES[ask]), methods=["POST"], name=ask,
            dependencies=[Depends(needs(role))], response_model=dict[str, Any],
        )  # fmt: skip
    return router


def _command(ask: str, body: type[Body]) -> Route:
    async def give(request: Request, content: Body) -> Answer:
        question = request_of(ask, content, caller_of(request).name)
        return await of(request).link.ask(question)

    give.__annotations__ = {"request": Request, "content": body, "return": dict[str, Any]}
    give.__doc__ = body.__doc__
    return give
