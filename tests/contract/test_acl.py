"""What each Redis user can do and what it cannot, by trying; the owner of the server tries the same, as a control."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError

from agent_core.run import RunStatus
from agent_core.tools.execution import CallResult
from queues import keys
from queues.acl import ADMIN, AGENTS, FLOWER, GATEWAY, OPERATOR, PRODUCER, Role, pool_user, roles
from queues.announcements import Announcement, Announcements
from queues.calls import Calls, ClaimedCall, Output
from queues.client import Client, WaitTimeoutError
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.errors import StoreRefusedError
from queues.offers import Offers, ToolOffer
from queues.refusals import set_aside
from queues.repairs import Repairs
from queues.replies import newest
from queues.run_store import RedisRunStore
from queues.topology import place_of
from tests.support.acl_attempts import (
    BEYOND_A_POOL,
    BEYOND_A_PRODUCER,
    BEYOND_AGENTS,
    BEYOND_FLOWER,
    BEYOND_THE_OPERATOR,
    SCRIPTS,
    SHELL,
    Command,
    of,
)
from tests.support.hand_worker import HandWorker
from tests.support.queue_floor import (
    DONE,
    EXPIRED,
    TIMING,
    Floor,
    address,
    at_step_one,
    claimed,
    external,
    parts,
    pending_snapshot,
)

pytestmark = pytest.mark.redis

POOLS = ("shell", "python")  # as the server of `conftest.py` has them


def sent(connection: redis.Redis, *command: str | int) -> object:
    """The answer as it comes; a command in one word keeps redis-py from reading meaning into it."""
    return connection.execute_command(*command)  # type: ignore[no-untyped-call]


def refuses(connection: redis.Redis, *command: str | int) -> bool:
    """Whether the server says that this user may not; any other answer means that it may."""
    try:
        sent(connection, *command)
    except NoPermissionError:
        return True
    except ResponseError as error:
        # DEBUG and MODULE are closed to everybody, before any rule is asked; a script wraps what it was refused.
        return bool(re.search(r"^(DEBUG|MODULE) command not allowed|NOPERM|ACL failure in script", str(error)))
    except redis.TimeoutError:
        return False
    return False


# --- every role does its work ------------------------------------------------------------------------------------


class Users(Floor):
    """The stores of one server, each in the hands of the user whose they are."""

    def __init__(self, as_user: Callable[[str], redis.Redis], owner: redis.Redis) -> None:
        agents, producer, shell = (Floor(as_user(user)) for user in (AGENTS, PRODUCER, SHELL))
        self.connection = owner
        self.runs, self.letters = producer.runs, producer.letters
        self.claims, self.repairs = agents.claims, agents.repairs
        self.calls, self.dying = shell.calls, shell.dying


@pytest.fixture
def floor(as_user: Callable[[str], redis.Redis], owner: redis.Redis) -> Iterator[Users]:
    """Nobody asks for anything that is refused, or the test fails."""
    owner.acl_log_reset()
    yield Users(as_user, owner)
    assert owner.acl_log() == []


def test_a_run_is_submitted_handed_out_settled_and_continued(floor: Users) -> None:
    run = floor.paused(external("a"), external("b"))
    for call_id in ("a", "b"):
        word = floor.calls.settle(floor.executing(run.run_id, call_id), CallResult(content="done"))
    assert word == "last" and floor.continuations() == 1
    again = floor.claims.claim(run.run_id, owner="agents@test")
    assert not isinstance(again, str) and set(again.answers) == {"a", "b"}


def test_heartbeats_retries_and_refusals_of_a_call(floor: Users) -> None:
    run = floor.paused(external("a"), max_attempts=2)
    call = floor.executing(run.run_id, "a")
    assert floor.calls.renew(call) == "held"
    assert floor.calls.settle(call, CallResult(content="no"), retry_after_seconds=60) == "retry"
    assert floor.calls.claim(address(run.run_id, "a")) == "backing_off"


def test_what_a_call_writes_is_told(floor: Users) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    assert floor.calls.tell_output(call, Output(("one\n",)))
    assert floor.calls.settle(call, CallResult(content="done"), output=Output(("two\n",), first=2)) == "last"
    assert floor.connection.xlen(keys.part_events("shell", run.run_id)) == 4


def test_a_dead_worker_is_swept_and_its_call_dug_up(floor: Users) -> None:
    run = floor.paused(external("a"), on_lost="retry", max_attempts=9)
    for expected in ("pushed", "pushed", "buried"):
        floor.executing(run.run_id, "a", floor.dying)
        assert floor.sweep_calls() == [expected]
    (letter,) = floor.letters.latest(limit=5)
    assert floor.letters.requeue_call(letter)
    assert isinstance(floor.calls.claim(address(run.run_id, "a")), ClaimedCall)


def test_a_message_that_nobody_acted_on_is_pushed_again(floor: Users, as_user: Callable[[str], redis.Redis]) -> None:
    eager = Repairs(as_user(AGENTS), timing=EXPIRED)
    new = floor.submitted()
    paused = floor.paused(external("a"))
    floor.calls.settle(floor.executing(paused.run_id, "a"), CallResult(content="done"))
    for run_id in (new, paused.run_id):
        assert eager.look_at_run(run_id) in ("pushed", "backlog")
    (entry,) = (str(entry) for entry in floor.connection.zrange(keys.pool_due("shell"), 0, -1))
    assert eager.look_at_call("shell", entry) in ("pushed", "backlog")


@pytest.mark.parametrize("session_id", ["s", None])
def test_an_agent_in_a_plain_process_shares_its_runs(
    session_id: str | None, floor: Users, as_user: Callable[[str], redis.Redis]
) -> None:
    store = RedisRunStore.on(as_user(AGENTS), timing=TIMING)
    snapshot = pending_snapshot()
    snapshot.output.session_id = session_id
    snapshot.output.status = RunStatus.COMPLETED
    saved = store.save(snapshot, expected_version=0)
    store.request_cancel(saved.run_id)
    assert store.cancel_requested(saved.run_id)
    assert len(store.history("s", limit=5)) == (1 if session_id else 0)


def test_what_a_pool_refused_is_collected(floor: Users, as_user: Callable[[str], redis.Redis]) -> None:
    for queue, user in (("tools.shell.high", SHELL), ("agents", AGENTS)):
        place = place_of(queue)
        assert place is not None
        set_aside(as_user(user), b"junk", place, reason="it is not JSON")
    # A pool says what it likes, but for itself alone.
    forged = {"queue": "agents", "reason": "", "size_bytes": 1, "digest": "0" * 16}
    as_user(SHELL).lpush(keys.refused("shell"), "junk", json.dumps(forged))
    assert floor.repairs.collect_refused(POOLS) == 4
    assert floor.repairs.collect_refused(POOLS) == 0
    assert {(letter.kind, letter.queue, letter.pool) for letter in floor.letters.latest(limit=5)} == {
        ("message", "tools.shell.high", "shell"),
        ("message", "agents", None),
    }


def test_producers_cancel_retry_answer_and_look(floor: Users, server: EmbeddedServer) -> None:
    for user in (PRODUCER, GATEWAY):
        client = Client(server.url_of(user), timing=TIMING)
        run = floor.paused(external("p", pool=None))
        assert [call.tool_call_id for call in client.pending(run.run_id)] == ["p"]
        client.settle(run.run_id, "p", result="yes")
        cancelled = floor.paused(external("a"))
        assert client.cancel(cancelled.run_id, "enough")
        assert client.runs() and client.dead_letters() == []
        assert [event.event for event in client.events(cancelled.run_id, timeout=1)][-1] == "RunCancelled"
        late = client.submit("ops", "late", deadline_seconds=0.001, idempotency_key=user)
        assert floor.repairs.expire(late.run_id) == "expired"
        assert late.retry().status().value == "PENDING"
        client.close()
    assert floor.repairs.trim(limit=10) == 0


def test_producers_approve_what_agent_workers_ask_and_pools_execute(
    floor: Users, server: EmbeddedServer, as_user: Callable[[str], redis.Redis]
) -> None:
    for user in (PRODUCER, GATEWAY):
        client = Client(server.url_of(user), timing=TIMING)
        calls = [external(name).model_copy(update={"requires_approval": True}) for name in ("a", "b", "c")]
        run = claimed(floor.claims, floor.submitted())
        handed_out = parts(run, calls, approvals={"shell": 1000})
        floor.pause(floor.claims.checkpoint(run, at_step_one(run.snapshot, calls), handed_out, []))
        floor.connection.lpush(keys.part("shell", run.run_id, 1), "what a pool may put in the way")
        assert [waiting.output.run_id for waiting in client.waiting_runs()] == [run.run_id]
        client.confirm(run.run_id, "a", True, arguments={"key": "y"}, answered_by="ann")
        client.confirm(run.run_id, "b", False)
        approvals = floor.repairs.approvals
        for member in newest(floor.connection, keys.UNAPPROVED, 10):
            floor.connection.zadd(keys.UNAPPROVED, {member: 1})
            assert approvals.look_at(member) == "expired"
        assert floor.calls.settle(floor.executing(run.run_id, "a"), CallResult(content="done")) == "last"
        assert len(claimed(floor.claims, run.run_id).answers) == 3
        client.close()


def test_producers_execute_a_call_without_a_run(
    floor: Users, server: EmbeddedServer, as_user: Callable[[str], redis.Redis]
) -> None:
    Offers(as_user(AGENTS)).announce_tools({"look_up": ToolOffer("shell")})
    Announcements(as_user(SHELL), "shell", valid_seconds=60).announce(Announcement("shell@a:1", "ns", 4))
    for user in (PRODUCER, GATEWAY):
        with Client(server.url_of(user), timing=TIMING) as client, ThreadPoolExecutor(1) as threads:
            running = threads.submit(client.execute, "look_up", {"key": "x"}, timeout=30)
            assert HandWorker(as_user(SHELL), calls=floor.calls).answer(DONE)[1] == "settled"
            assert running.result() == "found"
            with pytest.raises(WaitTimeoutError):
                client.execute("look_up", {"key": "x"}, timeout=0.01)
            assert floor.calls.claim(HandWorker(as_user(SHELL)).address()) == "cancelled"
            (pool,) = client.pools()
            assert (pool.name, pool.tools, pool.concurrency) == ("shell", ("look_up",), 4)
            assert client.agents() == [] and client.runs(limit=1).before is None
    assert floor.sweep_calls() == []


# --- and nothing else --------------------------------------------------------------------------------------------


def granted(role: Role) -> set[str]:
    return set(re.findall(r"\+([a-z|]+)", " ".join(role.rules)))


def all_commands(owner: redis.Redis) -> dict[str, tuple[Command, set[str]]]:
    """Each command of the server with as many arguments as it needs to be judged for its name, and its flags."""
    found: dict[str, tuple[Command, set[str]]] = {}
    names = cast(list[str], sent(owner, "COMMAND LIST"))
    containers = {name.split("|")[0] for name in names if "|" in name}
    for name in names:
        ((_, arity, flags, *_),) = cast(list[list[object]], sent(owner, "COMMAND INFO", name))
        words = name.split("|")
        missing = abs(cast(int, arity)) - len(words)
        if name not in containers:
            found[name] = ((*words, *["x"] * missing), set(cast(list[str], flags)))
    return found


@pytest.mark.parametrize("role", roles(POOLS), ids=lambda role: role.user)
def test_every_command_that_is_not_granted_is_refused(
    role: Role, as_user: Callable[[str], redis.Redis], owner: redis.Redis
) -> None:
    connection = as_user(role.user)
    commands = all_commands(owner)
    # They come before anybody is a user at all, so no rule applies to them.
    free = {name for name, (_, flags) in commands.items() if "no_auth" in flags}
    assert free == {"auth", "hello", "quit", "reset"}
    tried = {name: command for name, (command, _) in commands.items() if name not in granted(role) | free}
    assert len(tried) > 200
    assert [name for name, command in tried.items() if not refuses(connection, *command)] == []
    # The same words are no mistake that is refused to anybody.
    assert {sent(owner, "ACL DRYRUN", ADMIN, *command) for command in tried.values()} == {"OK"}


@pytest.mark.parametrize("command", BEYOND_A_POOL, ids=lambda command: " ".join(map(str, command)))
def test_a_pool_reaches_nothing_but_its_own(
    command: Command, as_user: Callable[[str], redis.Redis], server: EmbeddedServer, owner: redis.Redis
) -> None:
    owner.hset(of("shell"), "state:a", "queued")
    assert refuses(as_user(SHELL), *command)
    with connect(server.url, socket_timeout_seconds=5) as control:
        assert not refuses(control, *command) or command[0] == "DEBUG"


def test_what_a_pool_may_do_with_its_own(as_user: Callable[[str], redis.Redis]) -> None:
    """The same commands as above, on keys of its own: what is refused above is refused for the keys' sake."""
    shell = as_user(SHELL)
    for command in (
        ("RPUSH", "tools.shell", "x"),
        ("BRPOP", "tools.shell", "0.01"),
        ("HSET", of("shell"), "answer:a", "x"),
        ("HGET", of("shell"), "answer:a"),
        ("ZREM", keys.pool_due("shell"), "x"),
        ("EXISTS", keys.part_events("shell", "run_1")),
        ("LPUSH", "agents", "hint"),
        ("PUBLISH", "/0.celeryev/worker.heartbeat", "x"),
        ("PSUBSCRIBE", "/0.celery.pidbox"),
    ):
        assert not refuses(shell, *command), command


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_a_pools_own_reaches_no_further(
    name: str, as_user: Callable[[str], redis.Redis], owner: redis.Redis
) -> None:
    """Scripts run with the rights of whoever calls them, and a pool may load its own."""
    script, key = SCRIPTS[name]
    digest = str(as_user(SHELL).script_load(script))
    assert refuses(as_user(SHELL), "EVALSHA", digest, 1, key)
    assert not refuses(owner, "EVALSHA", digest, 1, key)


def test_a_pool_settles_no_call_of_another(floor: Users, as_user: Callable[[str], redis.Redis]) -> None:
    run = floor.paused(external("a", pool="python"))
    theirs, own = address(run.run_id, "a", "python"), as_user(pool_user("python"))
    thief = Calls(as_user(SHELL), timing=TIMING, worker="thief@test")
    with pytest.raises(NoPermissionError):
        thief.claim(theirs)
    call = Calls(own, timing=TIMING, worker="python@test").claim(theirs)
    assert isinstance(call, ClaimedCall)
    # Even with all that is to know about the call.
    with pytest.raises(NoPermissionError):
        thief.settle(call, CallResult(content="forged"))
    assert Calls(own, timing=TIMING, worker="python@test").settle(call, CallResult(content="true")) == "last"
    floor.connection.acl_log_reset()


def test_a_pool_submits_and_reads_no_run(server: EmbeddedServer, floor: Users) -> None:
    run_id = Client(server.url_of(PRODUCER)).submit("ops", "hello").run_id
    thief = Client(server.url_of(SHELL))
    for attempt in (
        lambda: thief.submit("ops", "hello"),
        lambda: thief.output(run_id),
        lambda: thief.cancel(run_id),
        lambda: thief.runs(),
        lambda: thief.dead_letters(),
        lambda: next(thief.events(run_id, timeout=1)),
    ):
        with pytest.raises(StoreRefusedError, match="does not permit this"):
            attempt()
    floor.connection.acl_log_reset()


def test_a_forged_hint_wakes_nobody(floor: Users, as_user: Callable[[str], redis.Redis]) -> None:
    """A pool can push onto the agents' queue; what counts is the claim, and that stands on the trusted side."""
    run = floor.paused(external("a"), external("b", pool="python"))
    floor.calls.settle(floor.executing(run.run_id, "a"), CallResult(content="done"))
    as_user(SHELL).hset(keys.part("shell", run.run_id, 1), "outstanding", "-7")
    assert floor.continuations() == 1
    assert floor.claims.claim(run.run_id, owner="agents@test") == "waiting"


@pytest.mark.parametrize(
    ("user", "command"),
    [
        *((PRODUCER, command) for command in BEYOND_A_PRODUCER),
        *((FLOWER, command) for command in BEYOND_FLOWER),
        *((OPERATOR, command) for command in BEYOND_THE_OPERATOR),
        *((AGENTS, command) for command in BEYOND_AGENTS),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value)),
)
def test_the_others_reach_no_further_than_they_must(
    user: str, command: Command, as_user: Callable[[str], redis.Redis], server: EmbeddedServer
) -> None:
    assert refuses(as_user(user), *command)
    with connect(server.url, socket_timeout_seconds=5) as control:
        assert not refuses(control, *command) or command[0] == "DEBUG"
