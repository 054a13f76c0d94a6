"""Deliveries to real receivers: signed, told what happened, tried again, and never led astray or held up by another."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import redis.asyncio

from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import Confirmation, ToolExecution, UserInputField
from queues import keys
from queues.acl import GATEWAY, roles
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.settings_gateway import GatewaySettings
from queues.webhook_urls import checked_webhook_url
from queues.webhooks import Due, Webhooks
from tests.support.egress import Names, certificate
from tests.support.queue_floor import Floor, claimed, external
from tests.support.silent_port import silent_port
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Posted, Receiver
from workers.gateway.webhooks import delivery, service
from workers.gateway.webhooks.posting import DeliveryError, Poster
from workers.gateway.webhooks.service import delivering

pytestmark = pytest.mark.redis

SECRET = b"a-secret-of-the-tests"
OPEN = GatewaySettings(webhook_secret="env:WEBHOOK_SECRET", webhook_allow_private=True)
ASKED = ToolExecution(tool_call_id="p", tool_name="look_up", tool_args={"key": "x"}, step=1, requires_confirmation=True)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET.decode())


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(delivery, "WAITS_SECONDS", [0.02] * 11)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def done(floor: Floor, url: str, *, content: object = "It is green.", **fields: object) -> str:
    """A run that has completed, to be told to this URL."""
    floor.webhook_url = url
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output = run.snapshot.output.model_copy(
        update={"status": RunStatus.COMPLETED, "content": content, **fields}
    )
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])
    return run.run_id


def paused(floor: Floor, url: str, *calls: ToolExecution) -> str:
    floor.webhook_url = url
    return floor.paused(*calls).run_id


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, timeout_seconds=30)


def is_empty(connection: redis.Redis) -> bool:
    return not connection.exists(keys.WEBHOOKS)


# --- what arrives ------------------------------------------------------------------------------------------------


async def test_an_end_is_posted_signed_and_then_forgotten(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    async with delivering(redis_url, OPEN):
        run_id = done(floor, receiver.url(path="/hook?a=b%20c"), session_id="s", metadata={"order": 7})
        await until(lambda: receiver.posted and is_empty(redis_connection), "it is delivered")
        await until(lambda: not redis_connection.exists(keys.WEBHOOKS_WAKE), "the word is heard")
    (posted,) = receiver.posted
    assert posted.path == "/hook?a=b%20c" and posted.headers["content-type"] == "application/json"
    assert posted.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert posted.is_signed_with(SECRET) and not posted.is_signed_with(b"another")
    told = posted.told
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "type": "run.completed",
        "data": {
            "run_id": run_id,
            "agent_name": "ops",
            "status": "COMPLETED",
            "session_id": "s",
            "user_id": None,
            "metadata": {"order": 7},
            "error": None,
            "content": "It is green.",
        },
    }


async def test_all_kinds_are_told_apart(floor: Floor, redis_url: str, receiver: Receiver) -> None:
    async with delivering(redis_url, OPEN):
        waiting = paused(floor, receiver.url(), ASKED.model_copy(), external("a"))
        await until(lambda: receiver.posted, "the pause is delivered")
        floor.cancel(waiting)
        await until(lambda: len(receiver.posted) == 2, "the cancellation is delivered")
        floor.kill_three_holders(failed := floor.submitted())
        assert floor.repairs.look_at_run(failed) == "buried"
        await until(lambda: len(receiver.posted) == 3, "the failure is delivered")
    pause, cancellation, failure = (posted.told for posted in receiver.posted)
    assert (pause["type"], pause["data"]["status"]) == ("run.paused", "PAUSED")
    asked = {"tool_call_id": "p", "tool_name": "look_up", "waits_for": "confirmation", "tool_args": {"key": "x"}}
    assert pause["data"]["pending"] == [asked]  # and not the call that a pool executes
    assert (cancellation["type"], cancellation["data"]["status"]) == ("run.cancelled", "CANCELLED")
    assert cancellation["data"]["error"] == "The run was cancelled: no longer wanted"
    assert (failure["type"], failure["data"]["run_id"]) == ("run.failed", failed)
    assert "buried" in failure["data"]["error"] and "pending" not in failure["data"]
    assert len(set(receiver.ids)) == 3


async def test_a_pause_names_the_fields_that_a_person_is_to_fill_in(
    floor: Floor, redis_url: str, receiver: Receiver
) -> None:
    fields = [UserInputField(name="city", field_type="string", description="Where to")]
    call = ToolExecution(
        tool_call_id="q", tool_name="look_up", step=1, requires_user_input=True, user_input_schema=fields
    )
    async with delivering(redis_url, OPEN):
        paused(floor, receiver.url(), call, external("b", pool=None))
        await until(lambda: receiver.posted, "the pause is delivered")
    asked, by_hand = receiver.posted[0].told["data"]["pending"]
    assert asked["waits_for"] == "input" and asked["fields"][0]["name"] == "city"
    assert by_hand["waits_for"] == "result"


async def test_a_pause_that_was_answered_meanwhile_is_not_told(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    answered = paused(floor, receiver.url(), ASKED.model_copy())
    half = paused(floor, receiver.url(), ASKED.model_copy(), ASKED.model_copy(update={"tool_call_id": "q"}))
    for run_id in (answered, half):
        floor.runs.answer(floor.runs.load(run_id), "p", Confirmation(confirmed=True))
    async with delivering(redis_url, OPEN):
        await until(lambda: is_empty(redis_connection), "nothing is left to tell")
    (posted,) = receiver.posted
    assert posted.told["data"]["run_id"] == half
    assert [call["tool_call_id"] for call in posted.told["data"]["pending"]] == ["q"]


async def test_an_end_is_told_even_if_the_run_was_retried_since(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    run_id = done(floor, receiver.url(), status=RunStatus.ERROR, error="It broke.", content="half")
    floor.runs.retry(floor.runs.load(run_id))
    async with delivering(redis_url, OPEN):
        await until(lambda: is_empty(redis_connection), "it is told")
    data = receiver.posted[0].told["data"]
    assert data["status"] == "ERROR" and "error" not in data and "content" not in data


async def test_what_is_too_large_is_left_out_and_named(floor: Floor, redis_url: str, receiver: Receiver) -> None:
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url(), content="x" * 300_000)
        await until(lambda: receiver.posted, "it is delivered")
    assert len(receiver.posted[0].body) < 10_000
    assert receiver.posted[0].told["data"]["omitted"] == ["content"]


# --- until it arrives --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
async def test_a_receiver_that_fails_first_gets_it_again_under_the_same_id(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    receiver.answer = lambda posted: (500 if len(receiver.posted) < 3 else 200, {}, b"")
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url())
        await until(lambda: is_empty(redis_connection), "it is delivered")
    assert len(receiver.ids) == 3 and len(set(receiver.ids)) == 1
    assert all(posted.is_signed_with(SECRET) for posted in receiver.posted)
    assert len({posted.body for posted in receiver.posted}) == 1


@pytest.mark.usefixtures("eager")
async def test_a_receiver_that_is_down_gets_it_once_it_is_up(
    floor: Floor, redis_url: str, redis_connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.webhooks.hosts._FIRST_REST_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "WAITS_SECONDS", [0.05] * 10_000)
    with silent_port() as port:
        async with delivering(redis_url, OPEN):
            run_id = done(floor, f"http://127.0.0.1:{port}/hook")
            await until(lambda: tries(redis_connection, run_id) > 1, "it was tried in vain")
            with Receiver(port=port) as up:
                await until(lambda: up.posted and is_empty(redis_connection), "it is delivered")
            assert len(up.posted) == 1


def tries(connection: redis.Redis, run_id: str) -> int:
    return int(connection.hget(keys.run(run_id), "webhook_tries:2") or 0)


@pytest.mark.usefixtures("eager")
async def test_after_twelve_tries_it_is_buried_and_can_be_dug_up(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    receiver.answer = lambda posted: (503, {}, b"")
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url())
        await until(lambda: floor.letters.latest(limit=5), "it is buried")
        (letter,) = floor.letters.latest(limit=5)
        assert letter.kind == "webhook"
        assert letter.reason == f"not delivered to 127.0.0.1:{receiver.port} (try 12): it answered 503"
        assert len(receiver.posted) == 12 and is_empty(redis_connection)
        receiver.answer = lambda posted: (200, {}, b"")
        assert floor.letters.requeue_webhook(letter)
        await until(lambda: is_empty(redis_connection), "it is delivered")
    assert len(set(receiver.ids)) == 1


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (302, {"location": "TARGET"}, "it answered 302, and redirects are not followed"),
        (307, {"location": "TARGET"}, "it answered 307, and redirects are not followed"),
        (404, {}, "it answered 404"),
    ],
)
async def test_redirects_are_not_followed(
    status: int, headers: dict[str, str], words: str, floor: Floor, redis_url: str, receiver: Receiver
) -> None:
    with Receiver() as target:
        sent = {name: value.replace("TARGET", target.url()) for name, value in headers.items()}
        receiver.answer = lambda posted: (status, sent, b"")
        async with delivering(redis_url, OPEN):
            done(floor, receiver.url())
            await until(lambda: floor.letters.latest(limit=5), "it is buried")
        assert floor.letters.latest(limit=5)[0].reason.endswith(words)
        assert len(receiver.posted) == 12 and target.posted == []


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(
    floor: Floor, redis_url: str, receiver: Receiver
) -> None:
    receiver.answer = lambda posted: (410, {}, b"")
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url())
        await until(lambda: floor.letters.latest(limit=5), "it is buried")
    assert len(receiver.posted) == 1


async def test_without_a_secret_it_is_buried_with_the_reason(floor: Floor, redis_url: str, receiver: Receiver) -> None:
    async with delivering(redis_url, GatewaySettings(webhook_allow_private=True)):
        done(floor, receiver.url())
        await until(lambda: floor.letters.latest(limit=5), "it is buried")
    assert "webhook_secret of [gateway] is not set" in floor.letters.latest(limit=5)[0].reason
    assert receiver.posted == []


async def test_while_the_secret_cannot_be_read_it_waits(
    floor: Floor, redis_url: str, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.webhooks.sender._LONGEST_NAP_SECONDS", 0.02)
    file, looked = tmp_path / "secret", threading.Event()
    keys_now = service.WebhookSecret.keys

    def looked_up(secret: service.WebhookSecret) -> list[bytes] | None:
        looked.set()
        return keys_now(secret)

    monkeypatch.setattr(service.WebhookSecret, "keys", looked_up)
    settings = GatewaySettings(webhook_secret=f"file:{file}", webhook_allow_private=True)
    async with delivering(redis_url, settings):
        done(floor, receiver.url())
        await until(looked.is_set, "the secret was looked for")
        assert receiver.posted == [] and floor.letters.latest(limit=5) == []
        (tmp_path / "next").write_bytes(SECRET)
        (tmp_path / "next").chmod(0o600)
        (tmp_path / "next").replace(file)
        await until(lambda: receiver.posted, "it is delivered")
    assert receiver.posted[0].is_signed_with(SECRET)


# --- nobody is held up -------------------------------------------------------------------------------------------


async def test_a_receiver_that_never_answers_holds_up_nobody_else(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    release = threading.Event()

    def hangs(posted: Posted) -> tuple[int, dict[str, str], bytes]:
        release.wait(60)
        return 200, {}, b""

    with Receiver(hangs) as slow:
        for _ in range(300):  # more than there is room for, and all due before the other
            done(floor, slow.url())
        async with delivering(redis_url, OPEN):
            await until(lambda: slow.posted, "the slow one is busy")
            done(floor, receiver.url())
            await until(lambda: receiver.posted, "the other got its own")
            assert len(slow.posted) <= service._AT_ONCE_PER_HOST and not release.is_set()
            release.set()
        assert redis_connection.zcard(keys.WEBHOOKS) > 0


async def test_an_answer_without_end_is_not_read(floor: Floor, redis_url: str, redis_connection: redis.Redis) -> None:
    with Receiver(lambda posted: (200, {"content-length": str(1 << 40)}, b"x" * 10_000)) as talkative:
        async with delivering(redis_url, OPEN):
            done(floor, talkative.url())
            await until(lambda: is_empty(redis_connection), "it counts as delivered")
    assert len(talkative.posted) == 1


async def test_what_a_gateway_is_delivering_when_it_leaves_is_delivered_once(
    floor: Floor, redis_url: str, redis_connection: redis.Redis
) -> None:
    asked, release = threading.Event(), threading.Event()

    def waits(posted: Posted) -> tuple[int, dict[str, str], bytes]:
        asked.set()
        release.wait(60)
        return 200, {}, b""

    with Receiver(waits) as slow:
        async with delivering(redis_url, OPEN):
            done(floor, slow.url())
            await until(asked.is_set, "it is under way")
            threading.Timer(0.05, release.set).start()
        assert is_empty(redis_connection) and len(slow.posted) == 1


async def test_two_gateways_deliver_each_announcement_once(
    floor: Floor, redis_url: str, receiver: Receiver, redis_connection: redis.Redis
) -> None:
    async with delivering(redis_url, OPEN), delivering(redis_url, OPEN):
        expected = {done(floor, receiver.url()) for _ in range(60)}
        await until(lambda: is_empty(redis_connection), "all are delivered")
    assert {posted.told["data"]["run_id"] for posted in receiver.posted} == expected
    assert len(receiver.ids) == len(set(receiver.ids)) == 60


async def test_a_look_that_fails_is_not_the_last(
    floor: Floor, redis_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.webhooks.sender._LONGEST_NAP_SECONDS", 0.02)
    usual, failures = Webhooks.due, [ValueError("a fault"), redis.ResponseError("OOM"), redis.TimeoutError()]

    def due(webhooks: Webhooks, *, limit: int) -> list[Due]:
        if failures:
            raise failures.pop()
        return usual(webhooks, limit=limit)

    monkeypatch.setattr(Webhooks, "due", due)
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url())
        await until(lambda: receiver.posted, "it is delivered")
    assert failures == []


async def test_the_store_may_be_away_for_a_while(
    embedded_server: EmbeddedServer, floor: Floor, redis_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.webhooks.sender._LONGEST_NAP_SECONDS", 0.1)
    async with delivering(redis_url, OPEN):
        done(floor, receiver.url())
        await until(lambda: receiver.posted, "the first is delivered")
        await asyncio.to_thread(kill_and_revive, embedded_server)
        done(floor, receiver.url())
        await until(lambda: len(set(receiver.ids)) == 2, "the second is delivered")


def kill_and_revive(server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is gone")
    server.revive()


# --- a sender that is killed -------------------------------------------------------------------------------------


@pytest.mark.fault
def test_what_a_killed_sender_had_in_hand_is_delivered_by_another(
    floor: Floor, redis_url: str, redis_connection: redis.Redis
) -> None:
    def hangs_first(posted: Posted) -> tuple[int, dict[str, str], bytes]:
        if len(slow.posted) == 1:
            died.wait(60)
        return 200, {}, b""

    died = threading.Event()
    with Receiver(hangs_first) as slow:
        first = started(redis_url)
        try:
            done(floor, slow.url())
            wait_until(lambda: slow.posted, "the first one is delivering", timeout_seconds=30)
        finally:
            first.kill()
            first.wait()
        died.set()
        assert not is_empty(redis_connection)
        second = started(redis_url)
        try:
            wait_until(lambda: is_empty(redis_connection), "another has delivered it", timeout_seconds=30)
        finally:
            second.kill()
            second.wait()
    assert len(slow.ids) == 2 and len(set(slow.ids)) == 1
    assert all(posted.is_signed_with(SECRET) for posted in slow.posted)


def started(url: str) -> subprocess.Popen[str]:
    # The lease has to outlast what holds up a busy machine: whose lease runs out delivers twice all by itself.
    command = [sys.executable, "-m", "tests.support.webhook_sender", url, "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "delivering\n"
    process.stdout.close()
    return process


# --- as the gateway's own user -----------------------------------------------------------------------------------


async def test_the_gateway_s_redis_user_may_do_all_of_it(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "WAITS_SECONDS", [0.02])
    with (
        EmbeddedServer.start(tmp_path / "server", roles=roles(["shell"])) as server,
        connect(server.url) as owner,
    ):
        owner.acl_log_reset()
        receiver.answer = lambda posted: (200 if posted.path == "/hook" else 500, {}, b"")
        async with delivering(server.url_of(GATEWAY), OPEN):
            done(Floor(owner), receiver.url())
            paused(Floor(owner), receiver.url(), ASKED.model_copy())
            done(Floor(owner), receiver.url(path="/broken"))
            await until(lambda: is_empty(owner), "all are done with")
        letters = Floor(connect(server.url_of(GATEWAY))).letters
        (letter,) = letters.latest(limit=5)
        assert letters.requeue_webhook(letter)
        assert owner.acl_log() == []


# --- where it may go ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def poster(names: Names, *, allow_private: bool, tls: ssl.SSLContext | None = None) -> AsyncIterator[Poster]:
    opened = Poster(allow_private=allow_private, resolver=names, at_once=4, tls=tls)
    yield opened
    await opened.aclose()


async def posted_to(poster: Poster, url: str) -> None:
    await poster.post(checked_webhook_url(url), b"{}", {"webhook-id": "msg_1"})


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["192.168.7.7"],
        ["::1"],
        ["fd00::7"],
        ["::ffff:127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],  # one bad address condemns the name
    ],
)
async def test_a_name_that_leads_to_a_private_address_is_refused(addresses: list[str], receiver: Receiver) -> None:
    async with poster(Names(hook__test=[addresses]), allow_private=False) as closed:
        with pytest.raises(DeliveryError, match=r"hook\.test leads to a private address") as caught:
            await posted_to(closed, receiver.url("hook.test"))
    assert caught.value.is_final and receiver.posted == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "64:ff9b::a9fe:a9fe"])
async def test_some_addresses_are_refused_whatever_is_allowed(address: str) -> None:
    async with poster(Names(hook__test=[[address]]), allow_private=True) as open_to_private:
        with pytest.raises(DeliveryError, match="which webhooks are not posted to") as caught:
            await posted_to(open_to_private, "http://hook.test/")
    assert caught.value.is_final


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "localhost"])
async def test_no_way_to_write_this_machine_s_address_is_let_through(
    host: str, floor: Floor, redis_url: str, receiver: Receiver
) -> None:
    """With the resolver that is really used."""
    async with delivering(redis_url, GatewaySettings(webhook_secret="env:WEBHOOK_SECRET")):
        done(floor, receiver.url(host))
        await until(lambda: floor.letters.latest(limit=5), "it is buried")
    assert "which webhooks are not posted to" in floor.letters.latest(limit=5)[0].reason
    assert receiver.posted == []


async def test_a_name_is_asked_once_and_its_checked_address_is_connected_to(receiver: Receiver) -> None:
    # If it were asked again for the connection, the second answer would count, and nobody listens there.
    names = Names(hook__test=[["127.0.0.1"], ["127.0.0.2"]])
    async with poster(names, allow_private=True) as sender:
        await posted_to(sender, receiver.url("hook.test"))
    assert names.asked == ["hook.test"]
    assert receiver.posted[0].headers["host"] == f"hook.test:{receiver.port}"


async def test_a_name_that_changes_its_mind_leads_nowhere(receiver: Receiver) -> None:
    names = Names(hook__test=[["93.184.216.34"], ["127.0.0.1"]])
    async with poster(names, allow_private=False) as sender:
        addresses = [await names("hook.test", 80)]  # what a check at the door would have seen
        with pytest.raises(DeliveryError, match="a private address"):
            await posted_to(sender, receiver.url("hook.test"))
    assert addresses == [["93.184.216.34"]] and receiver.posted == []


async def test_the_next_address_is_tried_where_one_is_dead(receiver: Receiver) -> None:
    async with poster(Names(hook__test=[["127.0.0.2", "127.0.0.1"]]), allow_private=True) as sender:
        await posted_to(sender, receiver.url("hook.test"))
    assert len(receiver.posted) == 1


@pytest.mark.parametrize(("names", "words"), [({}, "cannot be resolved"), ({"hook__test": [[]]}, "has no address")])
async def test_a_name_that_leads_nowhere_may_be_tried_again(names: dict[str, list[list[str]]], words: str) -> None:
    async with poster(Names(**names), allow_private=True) as sender:
        with pytest.raises(DeliveryError, match=words) as caught:
            await posted_to(sender, "http://hook.test/")
    assert not caught.value.is_final and caught.value.host == "silent"


async def test_what_is_no_http_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(junk, "127.0.0.1", 0) as server,
        poster(Names(), allow_private=True) as sender,
    ):
        with pytest.raises(DeliveryError, match="no HTTP"):
            await posted_to(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_certificates_are_verified_for_the_name_in_the_url(tmp_path: Path) -> None:
    file = certificate(tmp_path, "hook.test")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "public.pem"))
    names = Names(hook__test=[["127.0.0.1"]], other__test=[["127.0.0.1"]])
    with Receiver(tls=served) as receiver:
        async with poster(names, allow_private=True, tls=trusting) as sender:
            await posted_to(sender, receiver.url("hook.test", scheme="https"))
            with pytest.raises(DeliveryError, match=r"(?i)certificate|hostname"):
                await posted_to(sender, receiver.url("other.test", scheme="https"))
        async with poster(names, allow_private=True) as stranger:
            with pytest.raises(DeliveryError, match=r"(?i)certificate"):
                await posted_to(stranger, receiver.url("hook.test", scheme="https"))
    assert len(receiver.posted) == 1
