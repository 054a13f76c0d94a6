"""Posts one webhook: to an address that was checked, and to that very address. Follows no redirect and tries once.

A name is looked up here and nowhere else, so one that changes its mind between check and connection leads nowhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult

import httpcore2

from workers.addresses import refusal
from workers.resolving import Resolver, addresses_of

Behaviour = Literal["answered", "silent", "unasked"]
_READ_BYTES = 4096  # of an answer: enough to keep the connection where it says little, and no more


class DeliveryError(Exception):
    """It was not delivered, and what the host did: it answered, was silent, or was not asked at all.

    With `is_final` another try is no use.
    """

    def __init__(self, reason: str, *, host: Behaviour = "unasked", is_final: bool = False) -> None:
        super().__init__(reason)
        self.host = host
        self.is_final = is_final


class Poster:
    """Connections to receivers, with their certificates verified."""

    def __init__(
        self,
        *,
        allow_private: bool,
        resolver: Resolver,
        at_once: int,
        timeout_seconds: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` None: the certificate authorities of this machine, or those of SSL_CERT_FILE."""
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=at_once,
            max_keepalive_connections=at_once // 2,
            keepalive_expiry=15.0,
            network_backend=_Checked(resolver, allow_private=allow_private),
        )

    async def post(self, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> None:
        """Returns once the receiver has answered with a status from 200 to 299; DeliveryError for all else."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status = await self._status_of(url, body, headers)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout_seconds:g} s", host="silent") from None
        except DeliveryError:
            raise
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as error:
            raise DeliveryError(_words(error), host="silent") from error
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
            raise DeliveryError(f"what came back is no HTTP: {_words(error)}", host="answered") from error
        if 300 <= status < 400:
            raise DeliveryError(f"it answered {status}, and redirects are not followed", host="answered")
        if status == 410:
            raise DeliveryError("it answered 410: nobody wants this any more", host="answered", is_final=True)
        if not 200 <= status < 300:
            raise DeliveryError(f"it answered {status}", host="answered")

    async def _status_of(self, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        address = httpcore2.URL(scheme=url.scheme, host=url.hostname or "", port=url.port, target=target)
        sent = [
            ("Host", url.netloc),
            ("Content-Type", "application/json"),
            ("User-Agent", "Errandry"),
            *headers.items(),
        ]
        async with self._pool.stream("POST", address, headers=sent, content=body) as response:
            taken = 0
            async for chunk in response.aiter_stream():
                taken += len(chunk)
                if taken > _READ_BYTES:
                    break
            return int(response.status)

    async def aclose(self) -> None:
        """Let go of all connections."""
        await self._pool.aclose()


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to what a name leads to, if none of that is forbidden; the name in the TLS hello stays the URL's."""

    def __init__(self, resolver: Resolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await addresses_of(host, port, self._resolver)
        except (OSError, ValueError, UnicodeError) as error:
            raise DeliveryError(f"the name {host} cannot be resolved", host="silent") from error
        if not addresses:
            raise DeliveryError(f"the name {host} has no address", host="silent")
        for address in addresses:
            # One bad address among good ones condemns the name: whoever answers so tries to lead somewhere.
            kind = refusal(address, allow_private=self._allow_private)
            if kind is not None:
                raise DeliveryError(forbidden(host, kind), is_final=True)
        for address in addresses[:-1]:
            try:
                return await self._plain.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)


def forbidden(host: str, kind: str) -> str:
    """The sentence about a host that leads where webhooks must not go."""
    way_out = "; webhook_allow_private = true of [gateway] would allow it" if kind == "a private address" else ""
    return f"{host} leads to {kind}, which webhooks are not posted to{way_out}"


def forbidden_literal(host: str, *, allow_private: bool) -> str | None:
    """The same sentence where the host is a literal address and needs no looking up; None for what may be tried."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    kind = refusal(address, allow_private=allow_private)
    return forbidden(host, kind) if kind is not None else None


def _words(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
