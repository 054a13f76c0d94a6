"""A sweep whose messages were held up takes nobody for dead whose heartbeats were held up with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from agent_core.run import RunStatus
from queues.claims import Claims
from queues.connections import connect
from queues.repairs import Repairs
from tests.support.proxy import Proxy
from tests.support.queue_floor import EXPIRED, Floor, claimed, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

T = TypeVar("T")
_LONGER_THAN_PATIENCE = 1.3


@dataclass(frozen=True)
class FarAway:
    """A sweep for which every lease has run out, behind a network that can hold its messages up."""

    repairs: Repairs
    proxy: Proxy

    def begin_pass(self) -> None:
        """As a sweep does, which begins anew if a busy machine held up the very first question."""

        def has_begun() -> bool:
            with suppress(redis.TimeoutError):
                self.repairs.begin_pass()
                return True
            return False

        wait_until(has_begun, "a pass has begun")

    def in_time(self, look: Callable[[], str]) -> str:
        """What comes of a look that is not late, which on a busy machine may be that of a later pass."""
        words: list[str] = []

        def is_in_time() -> bool:
            self.begin_pass()
            words.append(look())
            return words[-1] != "late"

        wait_until(is_in_time, "a look comes in time")
        return words[-1]

    def held_up(self, question: Callable[[], T]) -> T:
        """What comes of a question whose message reaches the server late."""
        with ThreadPoolExecutor(1) as threads:
            self.proxy.stall()
            before, answer = self.proxy.taken, threads.submit(question)
            try:
                wait_until(lambda: self.proxy.taken > before, "it is on its way")
                asked = time.monotonic()
                wait_until(lambda: time.monotonic() > asked + _LONGER_THAN_PATIENCE, "it was held up")
            finally:
                self.proxy.resume()
            return answer.result(60)


@pytest.fixture
def far(redis_url: str) -> Iterator[FarAway]:
    parts = urlsplit(redis_url)
    assert parts.port is not None
    with Proxy(parts.port) as proxy:
        through = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}")
        with connect(urlunsplit(through)) as connection:
            yield FarAway(Repairs(connection, timing=EXPIRED), proxy)


def test_a_call_is_lost_only_by_a_look_in_time(floor: Floor, far: FarAway) -> None:
    run_id = floor.paused(external("a")).run_id
    floor.executing(run_id, "a", floor.dying)
    far.begin_pass()
    (entry,) = far.repairs.due_calls("shell", limit=10)
    assert far.held_up(lambda: far.repairs.look_at_call("shell", entry)) == "late"
    assert far.repairs.due_calls("shell", limit=10) == [entry]
    assert far.in_time(lambda: far.repairs.look_at_call("shell", entry)) == "lost"


def test_a_run_is_given_to_another_only_by_a_look_in_time(floor: Floor, far: FarAway) -> None:
    run_id = floor.submitted()
    claimed(Claims(floor.connection, timing=EXPIRED), run_id)
    far.begin_pass()
    assert far.held_up(lambda: far.repairs.look_at_run(run_id)) == "late"
    assert far.repairs.due_runs(limit=10) == [run_id]
    assert far.in_time(lambda: far.repairs.look_at_run(run_id)) == "pushed"


def test_a_lost_message_is_replaced_however_late_the_look(floor: Floor, far: FarAway) -> None:
    """Nobody is judged by that."""
    run_id = floor.submitted()
    floor.connection.delete("agents")
    far.begin_pass()
    assert far.held_up(lambda: far.repairs.look_at_run(run_id)) == "pushed"
    assert floor.runs.load(run_id).snapshot.status is RunStatus.PENDING


def test_a_pass_does_not_begin_while_messages_are_held_up(far: FarAway) -> None:
    with pytest.raises(redis.TimeoutError, match=r"took [1-9]\d*\.\d s"):
        far.held_up(far.repairs.begin_pass)
