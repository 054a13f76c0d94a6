"""Messages are hints: each may be lost, come three times or out of order, and nothing is lost or done twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent_core.errors import RunNotFoundError
from agent_core.run import RunOutput, RunStatus
from queues.connections import connect
from queues.envelopes import call_envelope, continuation_envelope, start_envelope
from queues.topology import agents_queues, pool_queues
from tests.faults.conftest import ORDINARY
from tests.support.chaos.fleet import POOLS, Fleet
from tests.support.chaos.load import Load
from tests.support.chaos.pump import STEPS, Policy, Pump
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
RUNS = 6


def pumped(redis_url: str, policy: Policy) -> tuple[Pump, list[RunOutput]]:
    """Some runs of two steps over two pools, with the policy for messages."""
    pump = Pump(redis_url, policy)
    with pump.running():
        runs = [pump.client.submit("pumped", "go") for _ in range(RUNS)]
        outputs = [run.wait(timeout=BOUND) for run in runs]
    assert pump.errors == []
    return pump, outputs


def must_be_done_once(pump: Pump, outputs: list[RunOutput]) -> None:
    for output in outputs:
        assert output.status is RunStatus.COMPLETED, output.error
        expected = [f"{letter}{step}".upper() for step in range(STEPS) for letter in "abcd"]
        assert [call.result for call in output.tools] == expected
        assert [message.content for message in output.messages if message.role == "tool"] == expected
        assert output.metrics.model_calls == STEPS + 1
        events = [event.event for event in pump.client.events(output.run_id, timeout=BOUND)]
        assert events.count("RunContinued") == STEPS and events.count("RunCompleted") == 1
    assert set(pump.sandbox.executed.values()) == {1}
    assert len(pump.sandbox.executed) == RUNS * STEPS * 3


def test_every_message_may_be_lost_once(redis_url: str) -> None:
    pump, outputs = pumped(redis_url, lambda _, seen: 1 if seen else 0)
    must_be_done_once(pump, outputs)
    assert min(pump.seen.values()) >= 2


def test_every_message_may_come_three_times(redis_url: str) -> None:
    pump, outputs = pumped(redis_url, lambda _, seen: 3)
    must_be_done_once(pump, outputs)
    turned_away = sum(pump.words[word] for word in ("held", "settled", "finished", "waiting"))
    assert turned_away >= RUNS * STEPS * 3 * 2


def test_messages_may_be_lost_and_doubled_at_random(redis_url: str) -> None:
    dice = random.Random(7)
    pump, outputs = pumped(redis_url, lambda _, seen: dice.choice((0, 0, 1, 2, 4)) if seen < 3 else 1)
    must_be_done_once(pump, outputs)


@contextmanager
def thief(fleet: Fleet) -> Iterator[list[str]]:
    """Somebody who waits at the same queues as the workers, and keeps whatever he gets."""
    queues = [*agents_queues(), *(queue for pool in POOLS for queue in pool_queues(pool))]
    stop, stolen = threading.Event(), list[str]()

    def steal() -> None:
        connection = connect(fleet.server.url, client_name="thief")
        while not stop.is_set():
            if got := connection.brpop(queues, timeout=0.2):
                stolen.append(str(got))
        connection.close()

    def wait_there() -> bool:
        with connect(fleet.server.url) as owner:
            return [client["name"] for client in owner.client_list()].count("thief") == 4

    thieves = [threading.Thread(target=steal, daemon=True) for _ in range(4)]
    for thread in thieves:
        thread.start()
    try:
        wait_until(wait_there, "all thieves have come")
        yield stolen
    finally:
        stop.set()
        for thread in thieves:
            thread.join(10)


def test_real_workers_make_up_for_stolen_messages_within_seconds(fleet: Fleet, load: Load) -> None:
    with thief(fleet) as stolen:
        load.submit_many(ORDINARY, 8, name="stolen")
        load.settle_down(timeout_seconds=2)
    assert stolen
    load.must_be_clean()


def test_real_workers_bear_a_storm_of_copies(fleet: Fleet, load: Load) -> None:
    """Starts, continuations and calls are pushed anew all the time, whatever state they are in, in any order."""
    dice = random.Random(11)
    load.submit_many(ORDINARY, 12, name="storm")

    def storm() -> None:
        for run_id, run in list(load.open.items()):
            try:
                pending = fleet.client.pending(run_id)
            except RunNotFoundError:
                continue
            envelopes = [
                start_envelope("chaotic", run_id, "normal"),
                continuation_envelope("chaotic", run_id, 1, "normal"),
            ]
            for call in pending:
                ids = (run_id, call.step, call.tool_call_id)
                if call.pool is not None:
                    envelopes.append(call_envelope(call.pool, call.tool_name, ids, "normal", parent_id=run_id))
            for envelope in dice.sample(envelopes * 2, len(envelopes) * 2):
                load.redis.lpush(envelope.queue, envelope.render())
            assert run.end is not None

    load.settle_down(timeout_seconds=BOUND, each=storm)
    findings = load.must_be_clean()
    assert findings.told["calls lost"] == 0 and findings.told["runs COMPLETED"] == 12
