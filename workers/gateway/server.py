"""Serves the gateway until a signal: on which address, with which limits, and how it leaves.

Never listens beyond this machine without API keys.
"""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator

import uvicorn

from queues.errors import SettingsError
from queues.settings import Settings
from queues.settings_gateway import is_own_machine
from workers.gateway.api_keys import read_keys
from workers.gateway.app import create_app
from workers.gateway.sse import HEARTBEAT_SECONDS, Streams
from workers.processes import ProcessError, ensure_port_free

READY = "Gateway is ready at"
"""What the log says once the gateway serves; the supervisor waits for it."""

_DRAIN_SECONDS = 8
_KEEP_ALIVE_SECONDS = 30
_LONGEST_HEAD = 32 * 1024
_BACKLOG = 1024
# Each stream holds one socket of its reader and one of the store.
_FILES_WANTED = 8192


def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C: streams end then, requests may finish for a few seconds.

    SettingsError if others could reach the address and there is no API key, or the file of keys cannot be used;
    ProcessError if the address cannot be had. Port 0 takes a free one. `on_ready` is told the URL.
    """
    host = settings.gateway.host
    _refuse_open_doors(settings)
    if settings.gateway.port:
        ensure_port_free(host, settings.gateway.port, what="the gateway", option="--port, or port in [gateway]")
    _raise_limit_of_files()
    with listening(host, settings.gateway.port) as listener:
        url = url_at(listener)
        server = GatewayServer(settings, on_ready=lambda: on_ready(url))
        server.run(sockets=[listener])


class GatewayServer(uvicorn.Server):
    """Uvicorn's server that says when it serves, and ends the streams of events when it leaves."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_ready: Callable[[], None],
        streams: Streams | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._streams = streams or Streams()
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                create_app(settings, streams=self._streams, heartbeat_seconds=heartbeat_seconds),
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                # A line for each request would show ids of people and runs, and add nothing to the metrics.
                access_log=False,
                server_header=False,
                # Nothing depends on the caller's address, so nobody need be believed about it.
                proxy_headers=False,
                h11_max_incomplete_event_size=_LONGEST_HEAD,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.over.set()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            # An asked-for end is no failure: without this the signal would be raised again.
            self._captured_signals.clear()


def _refuse_open_doors(settings: Settings) -> None:
    host = settings.gateway.host
    if not is_own_machine(host) and not read_keys(settings.api_keys_file):
        raise SettingsError(
            f"The gateway on {host} could be reached from other machines, and there is no API key; make one with "
            "`errandry key create NAME --role submit --role read`, or leave host out to listen on 127.0.0.1."
        )


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address; ProcessError if that cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ProcessError(
            f"The gateway cannot listen on {host}:{port}: {error}; choose another --host or --port."
        ) from error
    with listener:
        # A ready-made socket is served as it is; without this each whole answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def url_at(listener: socket.socket) -> str:
    """Where a browser finds what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _raise_limit_of_files() -> None:
    """As many open files as this user may have: the usual 1024 is less than 500 streams need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
