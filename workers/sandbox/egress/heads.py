"""The head of a request to the proxy, read strictly: what is ambiguous to anybody is refused.

It never repairs a request. One connection carries one request, so nothing of a client's can be taken for a second one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workers.sandbox.egress.policy import normal_host

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#]+)(?::([0-9]{1,5}))?")
_URL = re.compile(r"http://([^/?#]*)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Between this connection's two ends only; what says how long a body is, is written anew.
_OWN_TO_A_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"content-length", b"host")
)
_METHOD_BYTES = 32


class BadHeadError(Exception):
    """The request is not one that this proxy takes; `status` is what the client is answered."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Head:
    """A request that is well formed: where it wants to go, and for a plain one what is to be sent there."""

    host: str
    port: int
    tunnel: bool
    method: str = "CONNECT"
    forwarded: bytes = b""
    length: int = 0
    chunked: bool = False


def parse_head(raw: bytes) -> Head:
    """The head that `raw` (up to and with its empty line) holds; raises `BadHeadError`."""
    line, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None or len(found[1]) > _METHOD_BYTES:
        raise BadHeadError("The request line is malformed.")
    fields = [_field(text) for text in lines]
    method, target = found[1].decode(), found[2].decode()
    length, chunked = _framing(fields, newest=found[3] == b"1")
    if method == "CONNECT":
        if length or chunked:
            raise BadHeadError("A CONNECT request has no body.")
        host, port = _authority(target, default_port=None)
        _check_host(fields, host)
        return Head(host=host, port=port, tunnel=True)
    url = _URL.fullmatch(target)
    if url is None:
        raise BadHeadError(
            "This is a proxy: send CONNECT for https, or an absolute http:// URL without a fragment.",
        )
    host, port = _authority(url[1], default_port=80)
    _check_host(fields, host)
    origin = (url[2] or "/") + (url[3] or "")
    return Head(
        host=host,
        port=port,
        tunnel=False,
        method=method,
        forwarded=_forwarded(method, origin, _written(host, port), fields, length=length, chunked=chunked),
        length=length,
        chunked=chunked,
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    # One that begins with a blank continues the line above for some readers and not for others; it has no name, so out.
    found = _FIELD.fullmatch(line)
    if found is None:
        raise BadHeadError("A header line is malformed.")
    return found[1].lower(), found[2]


def _framing(fields: list[tuple[bytes, bytes]], *, newest: bool) -> tuple[int, bool]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise BadHeadError("The length of the body is given more than once.")
    if codings:
        if codings[0].lower() != b"chunked" or not newest:
            raise BadHeadError("Only the transfer encoding chunked of HTTP/1.1 is understood.", 501)
        return 0, True
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        raise BadHeadError("The length of the body is no number.")
    return int(lengths[0]) if lengths else 0, False


def _authority(text: str, *, default_port: int | None) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(text)
    host = normal_host(found[1]) if found is not None else None
    port = int(found[2]) if found is not None and found[2] else default_port
    if host is None or port is None or not 0 < port < 65536:
        raise BadHeadError("The target is malformed; write host:port, without user and password.")
    return host, port


def _check_host(fields: list[tuple[bytes, bytes]], host: str) -> None:
    named = [value for name, value in fields if name == b"host"]
    if len(named) > 1:
        raise BadHeadError("There is more than one Host header.")
    if named and _authority(named[0].decode("latin-1"), default_port=1)[0] != host:
        raise BadHeadError("The Host header names another host than the target.")


def _written(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == 80 else f"{name}:{port}"


def _forwarded(
    method: str, origin: str, authority: str, fields: list[tuple[bytes, bytes]], *, length: int, chunked: bool
) -> bytes:
    listed = {
        token.strip().lower() for name, value in fields if name == b"connection" for token in value.split(b",")
    } | _OWN_TO_A_HOP
    kept = [(name, value) for name, value in fields if name not in listed and not name.startswith(b"proxy-")]
    lines = [f"{method} {origin} HTTP/1.1".encode(), b"host: " + authority.encode()]
    lines += [name + b": " + value for name, value in kept]
    given = any(name == b"content-length" for name, _ in fields)
    lines += [b"transfer-encoding: chunked"] if chunked else [b"content-length: %d" % length] if given else []
    return b"\r\n".join([*lines, b"connection: close", b"", b""])
