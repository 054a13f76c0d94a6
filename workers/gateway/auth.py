"""Who may ask what: API keys with roles, or, on this machine alone and without any key, its own programs.

A key is never logged. Refusals are made before a body is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from queues.errors import SettingsError
from workers.gateway.api_keys import ApiKeys, looks_like_a_key
from workers.gateway.problems import ProblemError, of_errandry, of_refusal
from workers.strangers import telling_header

# Everything else asks for a key, so that a route which is forgotten here is closed and not open.
_OPEN_PATHS = frozenset({"/", "/health", "/ready", "/openapi.json", "/favicon.ico"})
_OPEN_PREFIX = "/page/"
_CALLER = "errandry.caller"

# Only for the description of the API: the key itself is looked at by the door.
_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="A key of `errandry key create`: `ek_…`")


@dataclass(frozen=True)
class Caller:
    """Whoever asks: the name and roles of the key. Without a name it is a program of this machine, which may all."""

    name: str | None
    roles: frozenset[str]

    def may(self, role: str) -> bool:
        return self.name is None or role in self.roles


LOCAL = Caller(None, frozenset())


class Door:
    """Lets a request in, as a caller, or answers it with 401 or 403. Outside of it nobody has read anything."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[_CALLER] = self._let_in(scope["path"], scope["method"], Headers(scope=scope))
            except HTTPException as refusal:
                await of_refusal(scope["path"], refusal)(scope, receive, send)
                return
            except SettingsError as error:
                await of_errandry(scope["path"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _let_in(self, path: str, method: str, headers: Headers) -> Caller | None:
        is_open = path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)
        try:
            self._keys.refresh()
        except SettingsError:
            # Whether the gateway is alive needs no key; whoever asks must not restart it for a spoilt file.
            if is_open:
                return None
            raise
        if not self._keys.are_required:
            _refuse_strangers(method, headers)
            return LOCAL
        if is_open:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unknown("Send an API key: Authorization: Bearer ek_…; `errandry key create` makes one.", "")
        key = self._keys.holder_of(token) if looks_like_a_key(token) else None
        if key is None:
            raise _unknown("This API key is not known (any more).", ', error="invalid_token"')
        return Caller(key.name, frozenset(key.roles))


def requires(role: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that lets in callers with this role; `{name}` in it stands for a part of the path."""

    async def check(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
        wanted = role.format(**request.path_params)
        caller = request.scope.get(_CALLER)
        if not isinstance(caller, Caller) or not caller.may(wanted):
            name = caller.name if isinstance(caller, Caller) else "none"
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                f"The API key {name!r} lacks the role {wanted}; ask for a key that has it.",
                headers={"WWW-Authenticate": f'Bearer realm="errandry", error="insufficient_scope", scope="{role}"'},
            )
        return caller

    return check


def _refuse_strangers(method: str, headers: Headers) -> None:
    """Without keys only programs of this machine may ask; a web page that its browser shows is a stranger."""
    match telling_header(method, headers):
        case None:
            return
        case "host":
            words = (
                "Without API keys the gateway answers to localhost only; ask for it by that name, or make a key with "
                "`errandry key create`."
            )
            raise ProblemError(HTTPStatus.FORBIDDEN, words, field="header.host")
        case name:
            words = "This comes from another site's page; without API keys the gateway takes no requests from there."
            raise ProblemError(HTTPStatus.FORBIDDEN, words, field=f"header.{name}")


def _unknown(detail: str, more: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": f'Bearer realm="errandry"{more}'})
