"""The console's application: routes, refusals as one sentence, and the guard around all of it."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from drivers.wording import sentence
from gateway.console.api import api_routes
from gateway.console.entry import entry_routes
from gateway.console.guard import Cookies, Guard
from gateway.console.pages import page_routes
from gateway.console.services import Services
from gateway.control.client import NotAnsweredError, RefusedError


def application(services: Services, *, secure: bool, version: str) -> Guard:
    """Make the ASGI application. secure: whether it is served over TLS."""
    app = FastAPI(
        title="plantgate console", version=version, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.state.services = services
    app.state.cookies = cookies = Cookies(secure)
    for router in (entry_routes(), api_routes(), page_routes()):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(NotAnsweredError, _not_answered)
    app.add_exception_handler(RefusedError, _gateway_refused)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, services.door, cookies)


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)


def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _problem(error.status_code, str(error.detail), dict(error.headers or {}))


def _wrong(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return _problem(422, f"{place}: {sentence(first)}")


def _not_answered(_: Request, error: Exception) -> Response:
    return _problem(503, str(error))


def _gateway_refused(_: Request, error: Exception) -> Response:
    return _problem(409, str(error))


def _failed(_: Request, _error: Exception) -> Response:
    return _problem(500, "the console made a mistake; its log says which")
