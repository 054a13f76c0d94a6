"""A real gateway on a real socket, in a thread of the test, with the gateway's own Redis user; and who asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import redis

from agent_core.events import RunCompleted, RunContent, RunEvent
from agent_core.run import RunStatus
from queues.claims import ClaimedRun
from queues.settings import Settings, load_settings
from tests.support.queue_floor import Floor, claimed
from tests.support.redis_users import let_in, without_user
from workers.gateway.api_keys import ROLES, create_key
from workers.gateway.server import GatewayServer, listening, url_at
from workers.gateway.sse import Streams

START_SECONDS = 30.0
TALK_SECONDS = 60.0


@dataclass
class Served:
    """A gateway that serves: where, and what a test may look at from inside."""

    url: str
    settings: Settings
    streams: Streams
    server: GatewayServer
    keys: dict[str, str] = field(default_factory=dict)

    def asking(self, key: str | None = None) -> httpx2.Client:
        """Whoever asks, with one of the keys by its name, or without."""
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key is not None else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=TALK_SECONDS, trust_env=False)


def project(folder: Path, owner_url: str, **overrides: object) -> Settings:
    """Settings whose processes are Redis users of their own, let in by the server."""
    address: dict[str, object] = {"redis_url": without_user(owner_url), "redis_users": Path("users.json")}
    pools = {"shell": {"tools": ["t:run"]}, "python": {"tools": ["t:count"]}}
    settings = load_settings(folder, **{**address, "agents": ("a:ops",), "pools": pools, **overrides})
    let_in(owner_url, settings)
    return settings


@contextmanager
def serving(
    settings: Settings, *, keys: bool = False, heartbeat_seconds: float = 15.0, most_streams: int = 2000
) -> Iterator[Served]:
    """Serve until the end of the block. With `keys` there is one for each role, under its name, and one for `all`."""
    made = {}
    if keys:
        made = {role: create_key(settings.api_keys_file, role, roles=[role]) for role in ROLES}
        made["all"] = create_key(settings.api_keys_file, "all", roles=ROLES)
    streams, ready = Streams(most=most_streams), threading.Event()
    with listening("127.0.0.1", 0) as listener:
        server = GatewayServer(settings, on_ready=ready.set, streams=streams, heartbeat_seconds=heartbeat_seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway", daemon=True)
        thread.start()
        try:
            assert ready.wait(START_SECONDS), "the gateway did not start"
            yield Served(url_at(listener), settings, streams, server, made)
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
    assert not thread.is_alive(), "the gateway did not leave"


def read_frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events as a browser reads them; comments come as the field `comment`."""
    frame: dict[str, str] = {}
    for line in lines:
        if not line:
            if frame:
                yield frame
            frame = {}
            continue
        name, _, value = line.partition(":")
        frame[name or "comment"] = value.removeprefix(" ")


def connections_of(owner: redis.Redis, user: str) -> int:
    """How many connections to the server this user holds."""
    return sum(client["user"] == user for client in owner.client_list())


class Story:
    """A run that a test carries on by hand, as an agent worker would: what it tells, and how it ends."""

    def __init__(self, floor: Floor, run_id: str, run: ClaimedRun | None = None) -> None:
        self.run_id = run_id
        self._floor = floor
        self._run = run or claimed(floor.claims, run_id)

    def tells(self, *texts: str) -> None:
        """Each text becomes an event of the run."""
        self.happens(*(RunContent(run_id=self.run_id, agent_name="ops", content=text) for text in texts))

    def happens(self, *events: RunEvent) -> None:
        """The run goes on, and tells these events."""
        snapshot = self._run.snapshot
        snapshot.output.status = RunStatus.RUNNING
        self._run = self._floor.claims.checkpoint(self._run, snapshot, [], events)

    def ends(self, content: str = "done") -> None:
        """The run is completed, and says so."""
        snapshot = self._run.snapshot
        snapshot.output.status, snapshot.output.content = RunStatus.COMPLETED, content
        end = RunCompleted(run_id=self.run_id, agent_name="ops", content=content)
        self._run = self._floor.claims.finish(self._run, snapshot, [end])
