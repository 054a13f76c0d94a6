"""Zygotes with one child at a time, without any process: who is used again, who is replaced, who waits."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from tests.support.waiting import wait_until
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.generation import Zygote, ZygoteBrokenError
from workers.sandbox.slots import Slots


class FakeChild:
    """A child that only knows that it is over."""

    def __init__(self) -> None:
        self.over: Callable[[bool], None] = lambda _: None
        self.reported: object = None


class FakeZygote:
    """A zygote that only counts."""

    age_seconds, cold = 1.0, ""

    def __init__(self, *, broken: bool = False) -> None:
        self.living, self.broken, self.taken, self.closed = True, broken, 0, threading.Event()
        self.waiting: FakeChild | None = None

    def lives(self) -> bool:
        return self.living and not self.closed.is_set()

    def spare(self) -> FakeChild | None:
        spare, self.waiting = self.waiting, None
        return spare

    def order(self) -> FakeChild:
        if self.broken:
            raise ZygoteBrokenError("it is broken")
        self.taken += 1
        return FakeChild()

    def add_spare(self) -> None:
        assert self.waiting is None
        self.waiting = self.order()

    def close(self) -> None:
        self.closed.set()


class Site:
    """Slots over fake zygotes, and what was started so far."""

    def __init__(self) -> None:
        self.started: list[FakeZygote] = []
        self.stale = False
        self.next_is_broken = False
        self.slots = Slots(self.start, recycle_after=5, stale=lambda: self.stale)

    def start(self) -> Zygote:
        self.started.append(FakeZygote(broken=self.next_is_broken))
        return cast(Zygote, self.started[-1])

    def take(self) -> FakeChild:
        return cast(FakeChild, self.slots.take())

    def rested(self) -> None:
        """Wait until the keeper has made everything ready that came back."""
        wait_until(lambda: self.slots._returning == 0, "the keeper is done")


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that is open."""
    site = Site()
    site.slots.open()
    site.rested()
    yield site
    site.slots.close()
    assert all(zygote.closed.is_set() for zygote in site.started)


def test_a_zygote_serves_one_call_after_the_other(site: Site) -> None:
    for _ in range(3):
        site.take().over(False)
        site.rested()
    assert len(site.started) == 1


def test_calls_side_by_side_have_zygotes_of_their_own(site: Site) -> None:
    with ThreadPoolExecutor(4) as threads:
        children = list(threads.map(lambda _: site.take(), range(4)))
    assert len(site.started) == 4

    for child in children:
        child.over(False)
    site.rested()
    for child in [site.take() for _ in range(4)]:
        child.over(False)
    assert len(site.started) == 4


def test_a_zygote_that_could_not_sweep_up_is_replaced(site: Site) -> None:
    child = site.take()
    site.started[0].living = False
    child.over(False)
    site.rested()

    site.take().over(False)
    assert len(site.started) == 2
    # Its keeper has it no more before it closes it.
    wait_until(site.started[0].closed.is_set, "it is closed")


def test_one_that_served_long_enough_or_hides_too_little_is_replaced(site: Site) -> None:
    for _ in range(6):
        site.take().over(False)
        site.rested()
    assert len(site.started) == 2

    site.stale = True
    site.take()
    assert len(site.started) == 3
    assert site.started[1].closed.is_set()


def test_a_broken_one_is_replaced_and_after_some_it_is_given_up(site: Site) -> None:
    child = site.take()
    site.started[0].broken = True
    child.over(False)
    site.rested()
    assert site.take() is not None
    assert len(site.started) == 2

    site.next_is_broken = True
    with pytest.raises(SandboxUnavailableError, match="cannot be set up for this call: it is broken"):
        site.take()


def test_a_closed_one_gives_nothing(site: Site) -> None:
    site.slots.close()
    site.slots.close()
    with pytest.raises(SandboxUnavailableError, match="is closed"):
        site.take()
