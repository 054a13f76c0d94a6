"""The proxy's own process: takes listening sockets over a control socket and serves them until it is told to stop.

It never holds a credential, never runs as root and never outlives its supervisor, whose end it sees on that socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket

from workers.resolving import Resolver, resolve
from workers.sandbox import kernel
from workers.sandbox.egress.policy import Policy
from workers.sandbox.egress.reaching import Streams
from workers.sandbox.egress.relay import Relay
from workers.sandbox.egress.traffic import Traffic
from workers.sandbox.staging import drop_privileges

PLAN_BYTES = 200_000
OPEN_FILES = 4096


class Served:
    """One call's way out: accepts on its listener until the supervisor ends it, then reports."""

    def __init__(self, listener: socket.socket, report: socket.socket, policy: Policy, resolver: Resolver) -> None:
        self._listener = listener
        self._report = report
        self._policy = policy
        self._resolver = resolver
        self._traffic = Traffic(most_bytes=policy.traffic_bytes)
        self._connections: set[asyncio.Task[None]] = set()

    async def until_ended(self) -> None:
        """Serve until the other end of `report` is shut down; then nothing of the call is open, and it is accounted."""
        loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(self._accepted, sock=self._listener, limit=self._policy.head_bytes)
            with contextlib.suppress(OSError):
                await loop.sock_recv(self._report, 1)
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            with contextlib.suppress(OSError):
                self._report.send(json.dumps(self._traffic.told()).encode())
        finally:
            self._listener.close()
            self._report.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: that of start_server calls a connection that we cancel an error.
        task = asyncio.ensure_future(self._serve((reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, client: Streams) -> None:
        relay = Relay(client, policy=self._policy, traffic=self._traffic, resolver=self._resolver)
        # A tool may break its connections at any byte; that is its own affair.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if len(self._connections) > self._policy.connections:
                words = f"More than {self._policy.connections} connections are open at once; close some of them first."
                await relay.turn_away(503, words)
            else:
                await relay.serve()


async def serve(control: socket.socket, policy: Policy, *, resolver: Resolver = resolve) -> None:
    """Take a listener and a report socket with each message on `control`, until that ends."""
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    calls: set[asyncio.Task[None]] = set()
    readable = asyncio.Event()
    loop.add_reader(control.fileno(), readable.set)
    while True:
        await readable.wait()
        readable.clear()
        try:
            message, fds, _, _ = socket.recv_fds(control, 16, 2)
        except BlockingIOError:
            continue
        if not message:
            break
        call = asyncio.ensure_future(_served(fds, policy, resolver))
        calls.add(call)
        call.add_done_callback(calls.discard)
    loop.remove_reader(control.fileno())
    for call in calls:
        call.cancel()


async def _served(fds: list[int], policy: Policy, resolver: Resolver) -> None:
    listener, report = (socket.socket(fileno=fd) for fd in fds)
    for end in (listener, report):
        end.setblocking(False)
    await Served(listener, report, policy, resolver).until_ended()


def main(control_fd: int) -> None:
    """Take the plan, give up everything that is not needed, say so, and serve."""
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control.fileno(), False)
    plan = json.loads(control.recv(PLAN_BYTES))
    # Whatever is imported late by looking up a name, is imported now: later this user may not reach it any more.
    with contextlib.suppress(OSError):
        asyncio.run(resolve("localhost", 80))
    if plan["uid"] is not None:
        drop_privileges(plan["uid"], plan["gid"])
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C drains the supervisor; calls go on until they are over
    control.send(b'{"ready": true}')
    asyncio.run(serve(control, Policy.from_json(plan["policy"])))
