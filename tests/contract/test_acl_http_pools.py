"""What the gateway's Redis user may do with pools that are served over HTTP, and with those that are not, by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from redis.exceptions import NoPermissionError

from agent_core.tools.execution import CallResult
from queues import keys
from queues.acl import AGENTS, GATEWAY, OPERATOR, PRODUCER, Role, pool_user, roles
from queues.announcements import Announcement, Announcements, announced
from queues.connections import aconnect, connect
from queues.embedded import EmbeddedServer
from queues.executor_calls import ExecutorCalls, LentCall
from queues.pool_messages import CallMessage, PoolMessages, UnfitMessage
from queues.refusals import set_aside
from queues.topology import pool_queue
from tests.support.queue_floor import TIMING, Floor, external

pytestmark = pytest.mark.redis

USERS = roles(("shell", "remote"), http_pools=("remote",))


@pytest.fixture(scope="module")
def users() -> list[Role]:
    return USERS


@pytest.fixture
def floor(as_user: Callable[[str], redis.Redis], server: EmbeddedServer) -> Iterator[Floor]:
    """The stores, each in the hands of the user whose they are."""
    agents, producer = Floor(as_user(AGENTS)), Floor(as_user(PRODUCER))
    with connect(server.url) as owner:
        found = Floor(owner)
        found.runs, found.claims, found.repairs = producer.runs, agents.claims, agents.repairs
        yield found


def test_a_pool_that_is_served_over_http_has_no_user_of_its_own() -> None:
    assert {role.user for role in USERS} >= {pool_user("shell"), GATEWAY}
    assert pool_user("remote") not in {role.user for role in USERS}


async def test_the_gateway_takes_gives_back_and_settles(
    floor: Floor, as_user: Callable[[str], redis.Redis], server: EmbeddedServer
) -> None:
    floor.connection.acl_log_reset()
    run = floor.paused(external("a", pool="remote"))
    calls = ExecutorCalls(as_user(GATEWAY), timing=TIMING)
    async with aconnect(server.url_of(GATEWAY), as_text=False) as blocking:
        messages = PoolMessages(blocking, "remote")
        message = await messages.take(seconds=5)
        assert isinstance(message, CallMessage)
        await messages.give_back(message)
        assert await messages.take(seconds=5) == message
        await blocking.lpush(pool_queue("remote"), b"junk")
        junk = await messages.take(seconds=5)
        assert isinstance(junk, UnfitMessage)
        set_aside(as_user(GATEWAY), junk.raw, junk.place, reason=junk.reason)
    first = calls.hand_over(message.address, "laptop:1")
    assert isinstance(first, LentCall) and calls.renew(first) == "held" and calls.release(first) == "released"
    second = calls.hand_over(message.address, "laptop:1")
    assert isinstance(second, LentCall)
    found = calls.find("remote", run.run_id, 1, "a", lease=second.lease)
    assert found is not None and found.call.epoch == second.call.epoch != first.call.epoch
    assert calls.settle(found, CallResult(content="done")) == "last"
    known = Announcements(as_user(GATEWAY), "remote", valid_seconds=60)
    known.announce(Announcement("laptop:1", "external", 1))
    assert [one.worker for one in announced(as_user(OPERATOR), "remote")] == ["laptop:1"]
    assert floor.repairs.collect_refused(["remote"]) == 1
    assert floor.connection.acl_log() == []


@pytest.mark.parametrize(
    "command",
    [
        ("BRPOP", "tools.shell", "0.01"),
        ("BRPOP", "agents", "0.01"),
        ("RPUSH", "tools.shell", "x"),
        ("RPUSH", "agents", "x"),
        ("LPUSH", keys.refused("shell"), "x"),
        ("LRANGE", "tools.remote", 0, -1),
        ("DEL", "tools.remote"),
    ],
    ids=lambda command: " ".join(map(str, command)),
)
def test_and_no_other_queue(command: tuple[str | int, ...], as_user: Callable[[str], redis.Redis]) -> None:
    with pytest.raises(NoPermissionError):
        as_user(GATEWAY).execute_command(*command)  # type: ignore[no-untyped-call]


def test_without_such_a_pool_the_gateway_takes_from_none(server: EmbeddedServer) -> None:
    with connect(server.url) as owner:
        for http_pools, told in ((("remote",), "OK"), ((), "has no permissions")):
            (role,) = (role for role in roles(("shell", "remote"), http_pools=http_pools) if role.user == GATEWAY)
            owner.execute_command("ACL", "SETUSER", *role.setuser("x").replace(GATEWAY, "tried", 1).split())
            answer = owner.execute_command("ACL", "DRYRUN", "tried", "BRPOP", "tools.remote", "0.01")
            assert told in str(answer)
        owner.acl_deluser("tried")
