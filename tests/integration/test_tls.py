"""TLS between processes and store: every client judges the server's certificate, and may show one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kombu.exceptions import OperationalError

from queues.celery_app import agent_app
from queues.checkup import Level
from queues.client import AsyncClient, Client
from queues.connections import check, connect
from queues.consumers import ask_consumers
from queues.errors import StoreUnreachableError
from queues.settings import load_settings
from tests.support.certificates import Authority, authority
from tests.support.named_by_sentinel import NamingSentinel
from tests.support.proxy import Proxy
from tests.support.silent_port import silent_port
from tests.support.waiting import wait_until
from tests.support.walked import must_be_whole
from tests.support.walking import walking
from workers.checkup import Scope, examine
from workers.watching.queue_lengths import QueueLengths

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]

BOUND = 60


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("ours")
    for place in (folder, folder.parent):
        place.chmod(0o755)
    return authority(folder, "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("others"), "others")


@pytest.fixture
def front(redis_url: str, ours: Authority) -> Iterator[Proxy]:
    """TLS in front of the server."""
    with Proxy(port_of(redis_url), tls=ours.server_side()) as proxy:
        yield proxy


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def behind(proxy: Proxy, redis_url: str, **options: object) -> str:
    """The owner's address of the server behind the proxy."""
    login = urlsplit(redis_url).netloc.rpartition("@")[0]
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"rediss://{login}@127.0.0.1:{proxy.port}/0?{query}"


def celery_connects(url: str, folder: Path) -> None:
    """As a worker does; once."""
    app = agent_app(load_settings(folder, redis_url=url))
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=BOUND)
            connection.default_channel.client.ping()
    finally:
        app.close()


async def test_every_client_gets_through(front: Proxy, redis_url: str, ours: Authority, tmp_path: Path) -> None:
    url = behind(front, redis_url, ssl_ca_certs=ours.public)
    with Client(url) as client:
        run = client.submit("ops", "hello")
        async with AsyncClient(url) as other:
            assert (await other.output(run.run_id)).input == "hello"
            with pytest.raises(TimeoutError):
                await other.wait(run.run_id, timeout=0.2)
    celery_connects(url, tmp_path)
    assert await QueueLengths(url).queues(["agents"]) == [{"name": "agents", "messages": 1}]
    assert ask_consumers(load_settings(tmp_path, redis_url=url), within_seconds=0.1) == {}


@pytest.mark.parametrize("which", ["another authority", "the system's authorities", "another name"])
async def test_every_client_turns_a_strangers_certificate_down(
    which: str, front: Proxy, redis_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    options = {"another authority": {"ssl_ca_certs": others.public}, "the system's authorities": {}}
    url = behind(front, redis_url, **options.get(which, {"ssl_ca_certs": ours.public}))
    if which == "another name":
        # This machine as well, but the certificate does not say so.
        url = url.replace("@127.0.0.1:", "@[::ffff:127.0.0.1]:")
    await _all_turn_it_down(url, tmp_path)


async def _all_turn_it_down(url: str, folder: Path) -> None:
    with Client(url) as client, pytest.raises(StoreUnreachableError, match="certificate"):
        client.runs()
    async with AsyncClient(url) as client:
        with pytest.raises(StoreUnreachableError, match="certificate"):
            [event async for event in client.events("run_1", timeout=1)]
    with pytest.raises((OperationalError, redis.ConnectionError), match="certificate"):
        celery_connects(url, folder)
    with pytest.raises(redis.ConnectionError, match="certificate"):
        await QueueLengths(url).queues(["agents"])


async def test_whoever_must_not_judge_it_says_so(front: Proxy, redis_url: str, tmp_path: Path) -> None:
    url = behind(front, redis_url, ssl_cert_reqs="none")
    with connect(url) as connection:
        check(connection)
    celery_connects(url, tmp_path)


def test_a_server_that_asks_for_certificates_is_shown_one(
    redis_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    with Proxy(port_of(redis_url), tls=ours.server_side(asks_clients=True)) as front:
        ca = {"ssl_ca_certs": ours.public}
        shown = behind(front, redis_url, **ca, ssl_certfile=ours.certificate, ssl_keyfile=ours.key)
        with connect(shown) as connection:
            check(connection)
        celery_connects(shown, tmp_path)
        wrong = behind(front, redis_url, **ca, ssl_certfile=others.certificate, ssl_keyfile=others.key)
        for url in (behind(front, redis_url, **ca), wrong):
            with connect(url) as connection, pytest.raises(StoreUnreachableError):
                check(connection)
            with pytest.raises((OperationalError, redis.ConnectionError)):
                celery_connects(url, tmp_path)


@pytest.mark.slow
def test_the_whole_walk(front: Proxy, redis_url: str, ours: Authority, tmp_path: Path) -> None:
    with walking(tmp_path, behind(front, redis_url, ssl_ca_certs=ours.public)) as walk:
        run = walk.client.submit("ops", "Everything at once")
        must_be_whole(run, run.wait(timeout=BOUND))

        def is_well() -> bool:
            found = list(examine(walk.settings, Scope(sandboxes=False)))
            well = {finding.subject for finding in found if finding.level is Level.OK}
            return {"redis.reachable", "workers.agents", "workers.shell"} <= well

        # A busy machine's workers do not always answer in time.
        wait_until(is_well, "the doctor sees all of them", timeout_seconds=BOUND)


@pytest.mark.slow
async def test_sentinels_and_the_server_that_they_name(
    front: Proxy, redis_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    """Both are spoken to over TLS, and both have to prove themselves. One that is away or in doubt is passed over."""
    login = urlsplit(redis_url).netloc.rpartition("@")[0]
    tls, password = ours.server_side(), "of-the-sentinels"
    with (
        NamingSentinel(front.port, tls=tls, password=password, flags="master,s_down") as doubting,
        NamingSentinel(front.port, tls=tls, password=password) as sentinel,
        silent_port() as silent,
    ):
        places = ",".join(f"127.0.0.1:{port}" for port in (silent, doubting.port, sentinel.port))
        url = f"rediss+sentinel://{login}@{places}/mymaster/0?sentinel_password=of-the-sentinels&ssl_ca_certs="
        with Client(f"{url}{ours.public}") as client:
            run = client.submit("ops", "hello")
        async with AsyncClient(f"{url}{ours.public}") as other:
            assert [event.event async for event in other.events(run.run_id, timeout=0)] == []
            assert (await other.output(run.run_id)).input == "hello"
        celery_connects(f"{url}{ours.public}", tmp_path)
        assert await QueueLengths(f"{url}{ours.public}").queues(["agents"]) == [{"name": "agents", "messages": 1}]
        assert set(sentinel.asked) == set(doubting.asked) == {"SENTINEL MASTER mymaster"}
        asked = len(sentinel.asked)
        await _all_turn_it_down(f"{url}{others.public}", tmp_path)
        assert len(sentinel.asked) == asked
