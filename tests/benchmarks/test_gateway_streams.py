"""What 500 open streams of events cost one gateway: its memory and connections, and what others still get of it."""

from __future__ import annotations

import asyncio
import resource
import socket
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import redis

from queues.acl import GATEWAY
from tests.support.command import Command
from tests.support.gateways import Story, connections_of, project
from tests.support.queue_floor import Floor
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.benchmark, pytest.mark.redis]

STREAMS = 500
SLOW = 50
PIECES, PIECE = 200, "x" * 10_000
NEW = {"agent": "ops", "input": "hello"}


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def files_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def asked_ms(client: httpx2.Client) -> tuple[float, float]:
    """Medians of a submit and of a look at its run."""
    submits, looks = list[float](), list[float]()
    for _ in range(20):
        begun = time.perf_counter()
        run_id = client.post("/v1/runs", json=NEW).json()["run_id"]
        submits.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        assert client.get(f"/v1/runs/{run_id}").status_code == 200
        looks.append(time.perf_counter() - begun)
    return statistics.median(submits) * 1000, statistics.median(looks) * 1000


def silent_reader(url: str, run_id: str) -> socket.socket:
    """A reader that asks and then reads nothing."""
    address = urlsplit(url)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.connect((address.hostname, address.port))
    found.sendall(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return found


@pytest.mark.timeout(600)
def test_five_hundred_streams_on_one_gateway(
    tmp_path: Path, redis_url: str, redis_connection: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    folder = tmp_path / "project"
    folder.mkdir()
    settings = project(folder, redis_url)
    assert settings.redis_url is not None
    (folder / "errandry.toml").write_text(
        f'redis_url = "{settings.redis_url.get_secret_value()}"\nredis_users = "users.json"\nagents = ["a:ops"]\n'
        '[pools.shell]\ntools = ["t:run"]\n[pools.python]\ntools = ["t:count"]\n'
    )
    told: list[str] = []
    try:
        with Command(folder).started("gateway", "--port", "0") as gateway:
            url, pid = gateway.wait_for_line("Gateway is ready at").rpartition(" ")[2], gateway.process.pid
            with httpx2.Client(base_url=url, timeout=300, trust_env=False) as client:
                asked_ms(client)  # opens what is opened once

                def say(what: str) -> None:
                    submit, look = asked_ms(client)
                    told.append(
                        f"  {what:44}{resident_mb(pid):7.1f} MB{files_of(pid):7} files"
                        f"{connections_of(redis_connection, GATEWAY):7} at the store"
                        f"   submit {submit:6.1f} ms   status {look:6.1f} ms"
                    )

                say("before")
                story = Story(Floor(redis_connection), client.post("/v1/runs", json=NEW).json()["run_id"])
                asyncio.run(all_of_it(url, client, story, say))
                wait_until(lambda: open_streams(client) == 0, "all are closed", timeout_seconds=120)
                say("after all have left")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with capsys.disabled():
        print(f"\n{STREAMS} streams of events on one gateway, {SLOW} of them never read; {PIECES} events of 10 kB each")
        print("\n".join(told))


async def all_of_it(url: str, client: httpx2.Client, story: Story, say: object) -> None:
    assert callable(say)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=300, trust_env=False) as readers:
        silent = [silent_reader(url, story.run_id) for _ in range(SLOW)]
        reading = [asyncio.create_task(read(readers, story.run_id)) for _ in range(STREAMS - SLOW)]
        await asyncio.to_thread(
            wait_until, lambda: open_streams(client) == STREAMS, "all are open", timeout_seconds=240
        )
        await asyncio.to_thread(say, "all open, nothing happens")
        begun = time.perf_counter()
        for start in range(0, PIECES, 20):
            pieces = [f"{number} {PIECE}" for number in range(start, start + 20)]
            await asyncio.to_thread(story.tells, *pieces)
        await asyncio.to_thread(story.ends)
        await asyncio.to_thread(say, "while they are told")
        counts = await asyncio.gather(*reading)
        assert set(counts) == {PIECES + 1}
        megabytes = len(reading) * PIECES * len(PIECE) / 1e6
        seconds = time.perf_counter() - begun
        await asyncio.to_thread(say, f"read: {megabytes:.0f} MB in {seconds:.0f} s; {SLOW} never read")
        for each in silent:
            each.close()


async def read(client: httpx2.AsyncClient, run_id: str) -> int:
    """How many events came before the stream ended."""
    async with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
        rest, count = b"", 0
        async for piece in answer.aiter_bytes():
            count += (rest + piece).count(b"\nevent: ")
            rest = piece[-7:]
        return count


def open_streams(client: httpx2.Client) -> int:
    text = client.get("/metrics").text
    return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith("errandry_gateway_open"))
