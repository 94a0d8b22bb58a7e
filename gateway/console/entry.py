"""Signing in and out, and wall displays."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from gateway.console.api import PROBLEMS
from gateway.console.bodies import Problem, SignIn, Token
from gateway.console.guard import Cookies
from gateway.console.people import TooManyError
from gateway.console.rights import commands_of
from gateway.console.services import address_of, of

WALL_AGE_S = 400 * 86_400
"""The most that browsers keep a cookie (RFC 6265bis, 5.6.1)."""
ENTRY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **{status: PROBLEMS[status] for status in (401, 403, 422)},
    429: {"model": Problem, "description": "Too many wrong ones: wait (Retry-After)."},
}


def me(request: Request) -> Response:
    """Who asks, and what they may do; 401 where nobody is signed in."""
    caller, services = request.scope["plantgate.caller"], of(request)
    if caller is None:
        setup = not services.door.anybody
        more = {"setup": True, "data_dir": str(services.data_dir)} if setup else {}
        return JSONResponse({"error": "sign in first", **more}, 401)
    known = {"user": caller.name, "name": caller.name, "role": caller.role.value,
             "role_zh": caller.role.zh, "can": commands_of(caller.role)}  # fmt: skip
    return JSONResponse(known)


async def sign_in(request: Request, content: SignIn) -> Response:
    """Begin a session; its cookie is out of reach of scripts."""
    services = of(request)
    try:
        token = await services.door.sign_in(content.user, content.password, address_of(request))
    except TooManyError as error:
        raise too_many(error) from error
    if token is None:
        raise HTTPException(401, "wrong name or password")
    answer = JSONResponse({"user": content.user})
    _set(answer, request, _cookies(request).session, token)
    return answer


def sign_out(request: Request) -> Response:
    """End the session; of a wall display, forget its token in this browser."""
    caller = request.scope["plantgate.caller"]
    of(request).door.sign_out(caller)
    answer = JSONResponse({})
    for name in (_cookies(request).session, _cookies(request).wall):
        _set(answer, request, name, "", 0)
    return answer


def wall(request: Request, content: Token) -> Response:
    """Make this browser a wall display."""
    try:
        found = of(request).door.wall(content.token, address_of(request))
    except TooManyError as error:
        raise too_many(error) from error
    if found is None:
        raise HTTPException(401, "this is no display's token, or it was removed")
    answer = JSONResponse({"name": found.name})
    _set(answer, request, _cookies(request).wall, content.token, WALL_AGE_S)
    return answer


def too_many(error: TooManyError) -> HTTPException:
    """Make the answer to who must wait."""
    return HTTPException(429, str(error), {"Retry-After": str(error.wait_s)})


def entry_routes() -> APIRouter:
    """Make the routes."""
    router = APIRouter(responses=ENTRY_PROBLEMS)
    router.add_api_route("/api/me", me, methods=["GET"])
    router.add_api_route("/api/sign-in", sign_in, methods=["POST"])
    router.add_api_route("/api/sign-out", sign_out, methods=["POST"])
    router.add_api_route("/api/wall", wall, methods=["POST"])
    return router


def _cookies(request: Request) -> Cookies:
    found = request.app.state.cookies
    if not isinstance(found, Cookies):
        raise TypeError("the application was made without cookies")
    return found


def _set(
    answer: Response, request: Request, name: str, value: str, age_s: int | None = None
) -> None:
    answer.set_cookie(
        name, value, max_age=age_s, path="/", httponly=True, samesite="strict",
        secure=_cookies(request).secure,
    )  # fmt: skip
