"""Text that a model streams, as readers of a run on the queue get it: live, gathered, in order, and once."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from agent_core.errors import ModelError, StaleRunError
from agent_core.events import RunContent, RunContinued, RunEvent
from agent_core.models.base import ModelReply
from agent_core.models.scripted import call
from agent_core.run import RunStatus
from agent_core.tools.function import Function
from queues import keys, teller
from queues.claims import ClaimedRun, Claims
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.scripts import Scripts
from queues.stored_events import stored_event
from queues.teller import Teller, Telling
from tests.support.proxy import Proxy
from tests.support.queue_floor import EXPIRED, Floor, claimed
from tests.support.streaming import Spoken, text_of, told
from tests.support.valkey import configured
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

BOUND = 30.0


@pytest.fixture
def spoken(floor: Floor, redis_connection: redis.Redis) -> Spoken:
    """A run whose model waits for its words."""
    return Spoken(redis_connection, claimed(floor.claims, floor.submitted()))


def run_of(spoken: Spoken) -> str:
    return spoken.journal.run.run_id


def shown(connection: redis.Redis, run_id: str, text: str) -> None:
    """Wait until a reader sees this text and nothing more."""
    wait_until(lambda: "".join(text_of(connection, run_id)) == text, f"{text!r} is told", timeout_seconds=BOUND)


def names(connection: redis.Redis, run_id: str) -> list[str]:
    return [event.event for event in told(connection, run_id)]


def text(content: str) -> RunEvent:
    return RunContent(run_id="run_1", agent_name="ops", step=1, content=content)


def test_readers_see_what_is_said_while_the_model_stalls(spoken: Spoken, redis_connection: redis.Redis) -> None:
    spoken.model.say("Once")
    wait_until(lambda: hasattr(spoken, "journal"), "the run is carried on")
    shown(redis_connection, run_of(spoken), "Once")
    spoken.model.say(" upon", " a", " time")
    shown(redis_connection, run_of(spoken), "Once upon a time")
    spoken.model.say(ModelReply(content="Once upon a time", finish_reason="stop"))
    assert spoken.done().output.content == "Once upon a time"
    assert "".join(text_of(redis_connection, run_of(spoken))) == "Once upon a time"


def test_text_is_gathered_and_keeps_its_place_before_each_save(spoken: Spoken, redis_connection: redis.Redis) -> None:
    pieces = [f"{place} " for place in range(500)]
    spoken.model.say(*pieces, ModelReply(content="".join(pieces), finish_reason="stop"))
    spoken.done()
    events = told(redis_connection, run_of(spoken))
    assert [event.event for event in (events[0], events[-1])] == ["RunStarted", "RunCompleted"]
    assert {event.event for event in events[1:-1]} == {"RunContent"} and {event.step for event in events} == {1}
    assert "".join(text_of(redis_connection, run_of(spoken))) == "".join(pieces)
    assert len(events) < 100
    # When each was written, by the server's clock; the last one went with the save.
    written: Any = redis_connection.xrange(keys.events(run_of(spoken)))
    times_ms = [int(entry_id.partition("-")[0]) for entry_id, _ in written[1:-2]]
    assert all(later - earlier >= 29 for earlier, later in itertools.pairwise(times_ms))


def test_a_reply_in_one_piece_is_told_once(spoken: Spoken, redis_connection: redis.Redis) -> None:
    spoken.model.say(ModelReply(content="whole", finish_reason="stop"))
    spoken.done()
    assert names(redis_connection, run_of(spoken)) == ["RunStarted", "RunContent", "RunCompleted"]


def test_words_before_a_call_are_told_before_the_call(floor: Floor, redis_connection: redis.Redis) -> None:
    look = Function(name="look", entrypoint=lambda: "seen")
    spoken = Spoken(redis_connection, claimed(floor.claims, floor.submitted()), tools=(look,))
    asked = ModelReply(content="Let me look.", tool_calls=(call("look", call_id="c"),), finish_reason="tool_calls")
    spoken.model.say("Let me", " look.", asked, "I saw ", "it.", ModelReply(content="I saw it.", finish_reason="stop"))
    spoken.done()
    by_step = {step: [e.event for e in told(redis_connection, run_of(spoken)) if e.step == step] for step in (1, 2)}
    first = [name for name in by_step[1] if name != "RunContent"]
    assert first == ["RunStarted", "ToolCallStarted", "ToolCallCompleted"]
    assert by_step[1].index("ToolCallStarted") > max(i for i, name in enumerate(by_step[1]) if name == "RunContent")
    assert set(by_step[2][:-1]) == {"RunContent"} and by_step[2][-1] == "RunCompleted"
    assert "".join(text_of(redis_connection, run_of(spoken))) == "Let me look.I saw it."


def test_a_reply_that_breaks_off_is_asked_for_again_and_readers_are_told_so(
    floor: Floor, redis_connection: redis.Redis
) -> None:
    spoken = Spoken(redis_connection, claimed(floor.claims, floor.submitted()))
    broke = ModelError("The line broke.", retryable=True)
    spoken.model.say("Once upon", broke, "Once more", ModelReply(content="Once more", finish_reason="stop"))
    assert spoken.done().status is RunStatus.COMPLETED and spoken.model.asked == 2
    assert names(redis_connection, run_of(spoken)) == [
        "RunStarted", "RunContent", "RunContinued", "RunContent", "RunCompleted",
    ]  # fmt: skip
    _, _, continued, again, _ = told(redis_connection, run_of(spoken))
    assert isinstance(continued, RunContinued) and continued.voids_text and continued.step == 1
    assert again.content == "Once more"


def test_a_model_that_fails_for_good_after_it_spoke_is_not_asked_again(
    floor: Floor, redis_connection: redis.Redis
) -> None:
    """Retrying the run does ask it, and says that the text is void."""
    spoken = Spoken(redis_connection, claimed(floor.claims, floor.submitted()), retries=3)
    spoken.model.say("Once upon", ModelError("The key was revoked."))
    snapshot = spoken.done()
    assert (snapshot.status, spoken.model.asked) == (RunStatus.ERROR, 1)
    run_id = run_of(spoken)
    assert names(redis_connection, run_id) == ["RunStarted", "RunContent", "RunError"]
    floor.runs.retry(floor.runs.load(run_id))
    again = Spoken(redis_connection, claimed(floor.claims, run_id))
    again.model.say("Once more", ModelReply(content="Once more", finish_reason="stop"))
    assert again.done().status is RunStatus.COMPLETED
    _, _, _, continued, *rest = told(redis_connection, run_id)
    assert isinstance(continued, RunContinued) and continued.voids_text and continued.step == 1
    assert "".join(str(event.content) for event in rest if event.event == "RunContent") == "Once more"


def test_a_model_that_fails_before_it_spoke_is_asked_again(floor: Floor, redis_connection: redis.Redis) -> None:
    spoken = Spoken(redis_connection, claimed(floor.claims, floor.submitted()), retries=1)
    spoken.model.say(
        ModelError("The line broke.", retryable=True), "fine", ModelReply(content="fine", finish_reason="stop")
    )
    assert spoken.done().status is RunStatus.COMPLETED and spoken.model.asked == 2
    assert text_of(redis_connection, run_of(spoken)) == ["fine"]


def keep_talking(spoken: Spoken) -> None:
    """Say something now and then until the stream is given up."""
    while not spoken.model.closed.wait(0.02) and spoken.error is None:
        spoken.model.say("and ")


def test_a_cancelled_run_stops_in_the_middle_of_a_reply(
    spoken: Spoken, floor: Floor, redis_connection: redis.Redis
) -> None:
    spoken.model.say("Once")
    wait_until(lambda: hasattr(spoken, "journal"), "the run is carried on")
    shown(redis_connection, run_of(spoken), "Once")
    assert floor.cancel(run_of(spoken)) == "requested"
    keep_talking(spoken)
    assert spoken.done().status is RunStatus.CANCELLED
    assert names(redis_connection, run_of(spoken))[-1] == "RunCancelled"
    assert set(names(redis_connection, run_of(spoken))[1:-1]) == {"RunContent"}


def taken_over(floor: Floor, run_id: str) -> ClaimedRun:
    """The run, whose lease runs out; a heartbeat of its holder may come in between."""
    runs: list[ClaimedRun] = []

    def is_taken() -> bool:
        floor.connection.hset(keys.run(run_id), "lease_until", 0)
        found = floor.claims.claim(run_id, owner="another")
        runs.extend([found] if isinstance(found, ClaimedRun) else [])
        return bool(runs)

    wait_until(is_taken, "the run is another's")
    return runs[0]


@pytest.mark.parametrize("leaves", [True, False], ids=["handed back", "lost"])
def test_a_holder_that_lost_its_run_stops_talking(
    spoken: Spoken, floor: Floor, redis_connection: redis.Redis, leaves: bool
) -> None:
    spoken.model.say("Once")
    wait_until(lambda: hasattr(spoken, "journal"), "the run is carried on")
    run_id = run_of(spoken)
    shown(redis_connection, run_id, "Once")
    if leaves:
        spoken.leave()
        run = claimed(floor.claims, run_id, "another")
    else:
        run = taken_over(floor, run_id)
    successor = Spoken(redis_connection, run)
    keep_talking(spoken)
    spoken.done()
    assert isinstance(spoken.error, StaleRunError) and spoken.model.closed.is_set()
    successor.model.say("Twice", ModelReply(content="Twice", finish_reason="stop"))
    assert successor.done().output.content == "Twice"
    events = told(redis_connection, run_id)
    places = [place for place, event in enumerate(events) if isinstance(event, RunContinued) and event.voids_text]
    assert len(places) == 1 and events[places[0]].step == 1
    after = [str(event.content) for event in events[places[0] :] if event.event == "RunContent"]
    assert "".join(after) == "Twice"


# Once


def append(floor: Floor, run_id: str, epoch: str, number: int, *contents: str) -> Any:
    events = [stored_event(text(content)) for content in contents]
    scripts = Scripts(floor.connection)
    return scripts.run("append_events", [keys.run(run_id), keys.events(run_id)], [epoch, number, *events])


def test_a_telling_that_is_repeated_writes_nothing(floor: Floor, redis_connection: redis.Redis) -> None:
    run = claimed(floor.claims, floor.submitted())
    run_id, epoch = run.run_id, run.epoch
    assert append(floor, run_id, epoch, 1, "a", "b") == 2
    assert append(floor, run_id, epoch, 1, "a", "b") == 0
    assert append(floor, run_id, epoch, 2, "c") == 1
    # The first one once more, from a connection that hung meanwhile.
    assert append(floor, run_id, epoch, 1, "a", "b") == 0
    assert append(floor, run_id, epoch, 11, "d") == 1 and append(floor, run_id, epoch, 9, "?") == 0
    assert text_of(redis_connection, run_id) == ["a", "b", "c", "d"]
    redis_connection.hset(keys.run(run_id), "lease_until", 0)
    successor = claimed(Claims(redis_connection, timing=EXPIRED), run_id, "another")
    assert append(floor, run_id, epoch, 12, "late") == -1
    assert append(floor, run_id, successor.epoch, 1, "e") == 1
    assert text_of(redis_connection, run_id) == ["a", "b", "c", "d", "e"]


def test_nothing_is_remembered_of_what_was_told_once_nobody_holds_the_run(floor: Floor) -> None:
    def ends() -> Iterator[str]:
        run = floor.dispatched()
        append(floor, run.run_id, run.epoch, 1, "a")
        floor.pause(run)
        yield run.run_id
        run = claimed(floor.claims, floor.submitted())
        append(floor, run.run_id, run.epoch, 1, "a")
        run.snapshot.output.status = RunStatus.COMPLETED
        floor.claims.finish(run, run.snapshot, [])
        yield run.run_id
        run = claimed(floor.claims, floor.submitted())
        append(floor, run.run_id, run.epoch, 1, "a")
        assert floor.claims.release(run)
        yield run.run_id

    for run_id in ends():
        assert floor.connection.hget(keys.run(run_id), "epoch") == "1"
        assert not floor.connection.hexists(keys.run(run_id), "told")
        assert append(floor, run_id, "1", 1, "late") == -1 and append(floor, run_id, "1", 2, "late") == -1
        assert text_of(floor.connection, run_id) == ["a"]


def test_what_was_written_and_never_answered_is_told_once(floor: Floor, embedded_server: EmbeddedServer) -> None:
    run = claimed(floor.claims, floor.submitted())
    port = int(embedded_server.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy, connect(embedded_server.url.replace(f":{port}/", f":{proxy.port}/")) as connection:
        telling = Teller(Scripts(connection)).telling(run.run_id, run.epoch)
        telling.add(text("first "))
        shown(floor.connection, run.run_id, "first ")
        proxy.mute()
        telling.add(text("second "))
        shown(floor.connection, run.run_id, "first second ")
        accepted = proxy.accepted
        proxy.cut()
        wait_until(lambda: proxy.accepted > accepted, "it is sent again", timeout_seconds=BOUND)
        proxy.resume()
        telling.add(text("third"))
        shown(floor.connection, run.run_id, "first second third")
        assert telling.take() == []


def test_what_is_said_while_redis_is_away_is_told_afterwards(
    floor: Floor, embedded_server: EmbeddedServer, redis_connection: redis.Redis
) -> None:
    run = claimed(floor.claims, floor.submitted())
    telling = Teller(Scripts(floor.connection)).telling(run.run_id, run.epoch)
    telling.add(text("before "))
    shown(redis_connection, run.run_id, "before ")
    os.kill(embedded_server.pid, signal.SIGKILL)
    wait_until(lambda: not embedded_server.is_alive, "the server is gone")
    said = [f"{place} " for place in range(1000)]
    for piece in said:
        assert telling.add(text(piece))
    assert embedded_server.revive()
    shown(redis_connection, run.run_id, "before " + "".join(said))
    assert len(text_of(redis_connection, run.run_id)) < 20


def test_what_a_full_server_refuses_is_told_once_it_takes_writes(floor: Floor, redis_connection: redis.Redis) -> None:
    run = claimed(floor.claims, floor.submitted())
    telling = Teller(Scripts(floor.connection)).telling(run.run_id, run.epoch)
    with configured(redis_connection, "maxmemory", 1):
        telling.add(text("a"))
        wait_until(lambda: telling.sending.locked(), "it is on its way")
        telling.add(text("b"))
        assert text_of(redis_connection, run.run_id) == []
    shown(redis_connection, run.run_id, "ab")


def test_what_redis_refuses_for_good_is_the_holders_error(floor: Floor, redis_connection: redis.Redis) -> None:
    ours, others = (claimed(floor.claims, floor.submitted()) for _ in range(2))
    redis_connection.set(keys.events(ours.run_id), "no stream")
    teller = Teller(Scripts(floor.connection))
    telling, other = teller.telling(ours.run_id, ours.epoch), teller.telling(others.run_id, others.epoch)
    telling.add(text("a"))
    other.add(text("b"))
    shown(redis_connection, others.run_id, "b")
    wait_until(lambda: telling.error is not None, "it is refused")
    for attempt in (lambda: telling.add(text("c")), telling.take):
        with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
            attempt()


def test_a_machine_without_threads_to_spare_has_the_save_tell(
    floor: Floor, redis_connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed(floor.claims, floor.submitted())
    telling = Teller(Scripts(floor.connection)).telling(run.run_id, run.epoch)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as narrow:
        narrow.setattr(threading.Thread, "start", refuse)
        telling.add(text("a"))
        assert [event.content for event in telling.take()] == ["a"]
    telling.add(text("b"))
    shown(redis_connection, run.run_id, "b")


def test_many_runs_are_told_by_one_thread_that_comes_and_goes(
    floor: Floor, redis_connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "_IDLE_SECONDS", 0.001)
    before, one = set(threading.enumerate()), Teller(Scripts(floor.connection), interval_seconds=0.001)
    runs = [claimed(floor.claims, floor.submitted()) for _ in range(12)]
    paced = threading.Event()

    def talk(telling: Telling, run_id: str) -> None:
        for place in range(300):
            telling.add(text(f"{place} "))
            if place % 7 == 0:
                paced.wait(0.002)  # the others get their turn, and the thread its end
            if place % 50 == 49:
                # As a save does: what it takes is told before anything that comes later.
                rest = "".join(str(event.content) for event in telling.take())
                floor.connection.xadd(keys.events(run_id), {"event": stored_event(text(rest))})

    talkers = [threading.Thread(target=talk, args=(one.telling(r.run_id, r.epoch), r.run_id)) for r in runs]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join(BOUND)
    for run in runs:
        assert "".join(text_of(redis_connection, run.run_id)) == "".join(f"{place} " for place in range(300))
    wait_until(lambda: set(threading.enumerate()) <= before, "the thread is gone")
