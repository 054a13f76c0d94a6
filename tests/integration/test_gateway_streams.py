"""Events over HTTP: from the first to the last, resumed, alive while nothing happens, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import redis

from queues.acl import GATEWAY
from tests.support.gateways import Served, Story, connections_of, project, read_frames, serving
from tests.support.queue_floor import Floor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def story(client: httpx2.Client, redis_connection: redis.Redis) -> Story:
    """A run that was submitted over HTTP, in the test's own hands."""
    run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]
    return Story(Floor(redis_connection), run_id)


def texts(frames: list[dict[str, str]]) -> list[str]:
    return [json.loads(frame["data"])["content"] for frame in frames if frame.get("event") == "RunContent"]


def events_of(client: httpx2.Client, run_id: str, **how: object) -> list[dict[str, str]]:
    """All frames with an event, to the end of the stream."""
    with client.stream("GET", f"/v1/runs/{run_id}/events", **how) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in answer.headers
        return [frame for frame in read_frames(answer.iter_lines()) if "event" in frame]


def test_a_stream_tells_everything_and_ends_with_the_run(client: httpx2.Client, story: Story) -> None:
    story.tells("one", "two\nlines", "drei: ü€😀")
    found: list[dict[str, str]] = []
    follower = threading.Thread(target=lambda: found.extend(events_of(client, story.run_id)))
    follower.start()
    story.tells("later")
    story.ends()
    follower.join(60)
    assert not follower.is_alive()
    assert texts(found) == ["one", "two\nlines", "drei: ü€😀", "later"]
    assert [frame["event"] for frame in found] == ["RunContent"] * 4 + ["RunCompleted"]
    for frame in found:
        told = json.loads(frame["data"])
        assert (told["event"], told["run_id"]) == (frame["event"], story.run_id)
    assert len({frame["id"] for frame in found}) == 5


def test_whoever_comes_back_misses_nothing_and_sees_nothing_twice(client: httpx2.Client, story: Story) -> None:
    story.tells("one", "two", "three")
    story.ends()
    whole = events_of(client, story.run_id)
    for seen, frame in enumerate(whole, start=1):
        for how in ({"headers": {"Last-Event-ID": frame["id"]}}, {"params": {"after": frame["id"]}}):
            if seen < len(whole):
                assert events_of(client, story.run_id, **how) == whole[seen:]
            else:
                # It is what keeps a browser's EventSource from coming back for ever.
                assert client.get(f"/v1/runs/{story.run_id}/events", **how).status_code == 204  # type: ignore[arg-type]
    # The header is the newer of the two: a browser repeats the address as it was.
    both = {"headers": {"Last-Event-ID": whole[1]["id"]}, "params": {"after": whole[0]["id"]}}
    assert events_of(client, story.run_id, **both) == whole[2:]


def test_a_quiet_stream_gives_signs_of_life(tmp_path: Path, redis_url: str) -> None:
    with serving(project(tmp_path, redis_url), heartbeat_seconds=0.05) as served, served.asking() as client:
        run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]
        with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
            frames = read_frames(answer.iter_lines())
            assert [next(frames) for _ in range(4)] == [{"comment": ""}] * 4


def test_a_reader_who_vanishes_leaves_nothing_behind(
    served: Served, client: httpx2.Client, story: Story, redis_connection: redis.Redis
) -> None:
    before = blocked(redis_connection)
    sockets = [raw_stream(served, story.run_id) for _ in range(20)]
    wait_until(lambda: served.streams.open == 20, "all streams are open", timeout_seconds=60)
    wait_until(lambda: blocked(redis_connection) == before + 20, "each waits in the store", timeout_seconds=60)
    for each in sockets:
        each.close()
    wait_until(lambda: served.streams.open == 0, "the streams are closed", timeout_seconds=60)
    # Cut off in the middle of their wait: one that had waited to its end would be kept, to be used again.
    wait_until(lambda: connections_of(redis_connection, GATEWAY) < 20, "so are their connections", timeout_seconds=60)
    wait_until(lambda: blocked(redis_connection) == before, "none of them is kept", timeout_seconds=60)


def test_a_slow_reader_slows_nobody_and_holds_little(served: Served, client: httpx2.Client, story: Story) -> None:
    piece, pieces = "x" * 100_000, 200
    slow = raw_stream(served, story.run_id, buffer=4096)
    for start in range(0, pieces, 20):
        story.tells(*[f"{number} {piece}" for number in range(start, start + 20)])
    story.ends()
    # Twenty megabytes lie ready; one who reads gets them all while the other has not read a byte of them.
    fast = events_of(client, story.run_id)
    assert [text.split()[0] for text in texts(fast)] == [str(number) for number in range(pieces)]
    held = [connection.transport.get_write_buffer_size() for connection in list(served.server.server_state.connections)]
    assert max(held) < 1_000_000
    # It was not cut off either: what it did not read is still there for it.
    with slow, slow.makefile("r", encoding="utf-8", newline="") as lines:
        seen = [line for line in lines if line.startswith("event: ")]
    assert len(seen) == pieces + 1


def test_there_is_a_bound_to_open_streams(tmp_path: Path, redis_url: str) -> None:
    with serving(project(tmp_path, redis_url), most_streams=2) as served, served.asking() as client:
        run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]
        held = [raw_stream(served, run_id) for _ in range(2)]
        wait_until(lambda: served.streams.open == 2, "two streams are open", timeout_seconds=30)
        refused = client.get(f"/v1/runs/{run_id}/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert client.get(f"/v1/runs/{run_id}/wait", params={"timeout": 0}).status_code == 503
        assert client.get(f"/v1/runs/{run_id}").status_code == 200
        assert "errandry_gateway_open_streams 2.0" in client.get("/metrics").text
        held.pop().close()
        wait_until(lambda: served.streams.open == 1, "there is room again", timeout_seconds=30)
        held.append(raw_stream(served, run_id))
        wait_until(lambda: served.streams.open == 2, "it is taken", timeout_seconds=30)
        for each in held:
            each.close()


def test_the_bound_holds_for_those_who_come_at_one_moment(tmp_path: Path, redis_url: str) -> None:
    most, readers = 2, 24
    with serving(project(tmp_path, redis_url), most_streams=most) as served, served.asking() as client:
        run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]
        asked = threading.Barrier(readers)
        let_go = threading.Event()

        def ask() -> int:
            asked.wait(60)
            with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
                if answer.status_code == 200:
                    let_go.wait(90)
                return answer.status_code

        with ThreadPoolExecutor(readers) as threads:
            answers = [threads.submit(ask) for _ in range(readers)]
            wait_until(
                lambda: sum(one.done() for one in answers) >= readers - most, "the rest is refused", timeout_seconds=60
            )
            let_go.set()
            assert sorted(one.result() for one in answers) == [200] * most + [503] * (readers - most)


def test_a_gateway_that_leaves_ends_its_streams_and_waits(tmp_path: Path, redis_url: str) -> None:
    ends: list[object] = []
    with serving(project(tmp_path, redis_url)) as served, served.asking() as client:
        run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]

        def follow() -> None:
            with served.asking() as reader:
                ends.append(events_of(reader, run_id))

        def wait() -> None:
            with served.asking() as waiter:
                answer = waiter.get(f"/v1/runs/{run_id}/wait?timeout=60")
                ends.append((answer.status_code, answer.json()["status"]))

        threads = [threading.Thread(target=each) for each in (follow, wait)]
        for thread in threads:
            thread.start()
        wait_until(lambda: served.streams.open == 2, "both are there")
    for thread in threads:
        thread.join(60)
    assert sorted(ends, key=str) == [(202, "PENDING"), []]


def test_every_reader_of_many_gets_the_same(served: Served, story: Story, redis_connection: redis.Redis) -> None:
    readers = 150

    async def one(client: httpx2.AsyncClient) -> list[str]:
        async with client.stream("GET", f"/v1/runs/{story.run_id}/events") as answer:
            return [line async for line in answer.aiter_lines() if line.startswith(("id: ", "data: "))]

    def tell_them_all() -> None:
        # Each waits in the store by itself; none has to wait until another's turn is over.
        wait_until(lambda: blocked(redis_connection) == readers, "all are there", timeout_seconds=90)
        story.tells(*map(str, range(50)))
        story.ends()

    async def all_of_them() -> list[list[str]]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=served.url, limits=limits, timeout=110, trust_env=False) as client:
            reading = [asyncio.create_task(one(client)) for _ in range(readers)]
            await asyncio.to_thread(tell_them_all)
            return await asyncio.gather(*reading)

    seen = asyncio.run(all_of_them())
    assert len(seen[0]) == 2 * 51
    assert all(other == seen[0] for other in seen)


def raw_stream(served: Served, run_id: str, *, buffer: int | None = None) -> socket.socket:
    """A reader that has asked, and reads what and when the test says."""
    address = urlsplit(served.url)
    found = socket.socket()
    found.settimeout(90)
    if buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    found.connect((address.hostname, address.port))
    found.sendall(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return found


def blocked(owner: redis.Redis) -> int:
    """How many connections of the gateway wait for events."""
    return sum(client["user"] == GATEWAY and client["cmd"] == "xread" for client in owner.client_list())
