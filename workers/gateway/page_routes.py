"""The page for people who look at runs: its files, as they lie in the package. Shows nothing of any run by itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header, Path
from starlette.responses import Response

from workers.gateway.problems import ProblemError

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Stricter than what every answer has: nothing is loaded but the page's own files, and no text can become markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

Seen = Annotated[str | None, Header(alias="if-none-match", max_length=1000)]


@dataclass(frozen=True)
class Asset:
    """A file of the page, and the tag by which a browser knows whether it has it already."""

    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
async def page(if_none_match: Seen = None) -> Response:
    """Return the page itself; its script asks the API for everything else."""
    return _answer("index.html", if_none_match)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def asset(name: Annotated[str, Path(max_length=100)], if_none_match: Seen = None) -> Response:
    """Return one file of the page."""
    return _answer(name, if_none_match)


def _answer(name: str, seen: str | None) -> Response:
    found = _assets().get(name)
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"The page has no file {name!r}.")
    # Asked for again each time, so that a new release is seen at once; the tag makes that cheap.
    headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    tags = [tag.strip().removeprefix("W/") for tag in (seen or "").split(",")]
    if found.etag in tags or "*" in tags:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def _assets() -> dict[str, Asset]:
    """All files of the page, read once: no name that is asked for ever leads to the file system."""
    found = {}
    for file in files("workers.gateway").joinpath("page").iterdir():
        media_type = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if media_type is not None:
            content = file.read_bytes()
            found[file.name] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
