"""Who asks a server that nobody needs a password for: a program of this machine, or a page of another site.

A page elsewhere can have a browser of this machine send requests here, and by a name of its own that suddenly leads
here (DNS rebinding) even read the answers. Neither can leave the headers out that give it away.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

_OWN_SITE = ("same-origin", "none")
_LOCAL_NAMES = ("localhost",)


def telling_header(method: str, headers: Mapping[str, str]) -> Literal["host", "sec-fetch-site", "origin"] | None:
    """The header by which a request shows that it does not come from this machine's own programs; None if it does.

    `headers` finds names in lower case.
    """
    host = headers.get("host", "")
    if not _is_local(host):
        return "host"
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    is_followed_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if site is not None and site not in _OWN_SITE and not is_followed_link:
        return "sec-fetch-site"
    if origin is not None and not _same_place(origin, host):
        return "origin"
    return None


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in _LOCAL_NAMES or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_place(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
