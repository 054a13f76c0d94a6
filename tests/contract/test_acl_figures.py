"""Who may count what, by trying: each process its own, the gateway reads all of it, and nobody touches the others'."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest
import redis
from redis.exceptions import NoPermissionError

from queues import keys
from queues.acl import AGENTS, GATEWAY, PRODUCER, Role, pool_user, roles
from queues.announcements import Announcement, Announcements
from queues.connections import aconnect, connect
from queues.count_telling import CountTeller
from queues.counting import Figure
from queues.embedded import EmbeddedServer
from queues.figures import Figures, figures
from tests.support.queue_floor import Floor, external

pytestmark = pytest.mark.redis

SHELL = pool_user("shell")
POOLS = ("shell", "python", "remote")


@pytest.fixture(scope="module")
def users() -> list[Role]:
    return roles(POOLS, http_pools=("remote",))


def tell(connection: redis.Redis, pool: str | None, figure: Figure) -> bool:
    batches, process = [{figure: 1}], uuid.uuid4().hex
    return CountTeller(connection, pool=pool, process=process, take=lambda: batches.pop() if batches else {}).tell()


def read(url: str) -> Figures:
    async def reading() -> Figures:
        async with aconnect(url) as connection:
            return await figures(connection, POOLS)

    return asyncio.run(reading())


def test_each_counts_its_own_and_the_gateway_reads_all(
    server: EmbeddedServer, as_user: Callable[[str], redis.Redis]
) -> None:
    with connect(server.url) as owner:
        owner.acl_log_reset()
        floor, agents = Floor(owner), Floor(as_user(AGENTS))
        floor.runs, floor.claims = agents.runs, agents.claims
        floor.paused(external("a"))
        Announcements(as_user(SHELL), "shell", valid_seconds=60).announce(Announcement("shell@a:1", "ns", 4))
        calls = "errandry_calls_total"
        assert tell(as_user(SHELL), "shell", (calls, "shell", "failed"))
        assert tell(as_user(AGENTS), None, (calls, "shell", "failed"))
        assert tell(as_user(GATEWAY), None, (calls, "remote", "failed"))
        found = read(server.url_of(GATEWAY))
        assert (found.open_calls["shell"], found.tool_workers["shell"], found.submitted) == (1, 1, 1)
        assert found.counted[calls, "shell", "failed"] == 2 and found.counted[calls, "remote", "failed"] == 1
        assert owner.acl_log() == []


@pytest.mark.parametrize("pool", [None, "python"])
def test_a_pool_counts_for_nobody_else(as_user: Callable[[str], redis.Redis], pool: str | None) -> None:
    assert not tell(as_user(SHELL), pool, ("errandry_calls_total", "python", "failed"))


@pytest.mark.parametrize(
    "command",
    [
        ("HINCRBY", keys.STATES, "PENDING", 1),
        ("HGETALL", keys.STATES),
        ("HSET", keys.COUNTS, "x", 1),
        ("HGETALL", keys.COUNTS),
        ("HSET", keys.counts("python"), "x", 1),
        ("HSET", keys.counted("python", "p"), "told", 99),
        ("HSET", keys.counted(None, "p"), "told", 99),
    ],
    ids=lambda command: " ".join(map(str, command)),
)
def test_nor_do_pools_see_or_change_what_others_counted(
    as_user: Callable[[str], redis.Redis], command: tuple[str | int, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        as_user(SHELL).execute_command(*command)  # type: ignore[no-untyped-call]


def test_a_producer_changes_states_and_reads_no_figures(
    server: EmbeddedServer, as_user: Callable[[str], redis.Redis]
) -> None:
    Floor(as_user(PRODUCER)).submitted()
    for command in (("HGETALL", keys.STATES), ("HDEL", keys.STATES, "PENDING"), ("HINCRBY", keys.COUNTS, "x", 1)):
        with pytest.raises(NoPermissionError):
            as_user(PRODUCER).execute_command(*command)  # type: ignore[no-untyped-call]
    with pytest.raises(NoPermissionError):
        read(server.url_of(PRODUCER))


def test_without_pools_over_http_the_gateway_counts_nothing(server: EmbeddedServer) -> None:
    with connect(server.url) as owner:
        for http_pools, told in ((("remote",), "OK"), ((), "has no permissions")):
            (role,) = (role for role in roles(POOLS, http_pools=http_pools) if role.user == GATEWAY)
            owner.execute_command("ACL", "SETUSER", *role.setuser("x").replace(GATEWAY, "tried", 1).split())
            answer = owner.execute_command("ACL", "DRYRUN", "tried", "HINCRBY", keys.COUNTS, "x", "1")
            assert told in str(answer)
        owner.acl_deluser("tried")
