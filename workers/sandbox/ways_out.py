"""One call's way to the network: opened at the proxy before the call is asked, closed and accounted at its end.

It never opens one for a call of a pool without an allowlist.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from pydantic import JsonValue

from workers.sandbox.children import Child
from workers.sandbox.egress.proxy import EgressProxy, receive_listener


@contextlib.contextmanager
def way_out(proxy: EgressProxy | None, child: Child, reported: dict[str, JsonValue]) -> Iterator[None]:
    """The call's way to the network, open before it is asked and closed when it is over, with what was reached."""
    if proxy is None:
        yield
        return
    try:
        with socket.socket(fileno=os.dup(child.handed["listener"])) as report:
            egress = proxy.serve(receive_listener(report))
    except BaseException:
        child.close()
        raise
    try:
        yield
    finally:
        reported["egress"] = dict(egress.end())
