"""Pages: one static shell for all of them, and the files that it uses.

Guarantees: the files of gateway/console/static are read once, at the start, and nothing outside of
them can be asked for; each has an ETag of its content and is asked for again every time, so that a
browser never mixes two versions; they hold nothing of the plant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from gateway.console.rights import PAGES, PUBLIC_FOLDER

FOLDER = Path(__file__).parent / "static"
SHELL = "app.html"
MEDIA: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served."""

    content: bytes
    media: str
    etag: str


def static_files(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """Read all files of known kinds, by their path below the folder."""
    found: dict[str, StaticFile] = {}
    for path in sorted(folder.rglob("*")):
        media = MEDIA.get(path.suffix)
        if media is not None and path.is_file():
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(folder).as_posix()] = StaticFile(content, media, etag)
    return found


def page_routes() -> APIRouter:
    """Make the routes."""
    files, router = static_files(), APIRouter(include_in_schema=False)

    def shell(request: Request) -> Response:
        return _answer(files, SHELL, request)

    def static(request: Request, name: str) -> Response:
        return _answer(files, name, request)

    for page in PAGES:
        router.add_api_route(page, shell, methods=["GET"])
    router.add_api_route(PUBLIC_FOLDER + "{name:path}", static, methods=["GET"])
    return router


def _answer(files: Mapping[str, StaticFile], name: str, request: Request) -> Response:
    file = files.get(name)
    if file is None:
        raise HTTPException(404, f"there is no page {name}")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media, headers=headers)
