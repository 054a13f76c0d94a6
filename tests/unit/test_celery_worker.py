"""What our workers have of Celery's, looked at without a broker."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.utils.dispatch import Signal

from workers.celery_worker import attach
from workers.draining import Drain


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("task_postrun", "worker_ready", "worker_shutdown"):
        monkeypatch.setattr(signals, name, Signal(name=name))
    gc.unfreeze()
    yield
    gc.unfreeze()


def drain() -> Drain:
    class NoLeases:
        def hand_back(self) -> None:
            raise AssertionError("nothing drains here")

    leases: Any = NoLeases()
    return Drain(leases, bound_seconds=1)


@pytest.mark.usefixtures("own_signals")
def test_what_is_there_after_the_first_task_is_searched_for_garbage_no_more() -> None:
    attach(Celery(set_as_current=False), lambda stack: None, drain=drain())
    assert gc.get_freeze_count() == 0
    signals.task_postrun.send(sender=None)
    spared = gc.get_freeze_count()
    assert spared > 0
    kept: list[list[str]] = [[] for _ in range(100)]
    signals.task_postrun.send(sender=None)
    assert gc.get_freeze_count() <= spared and kept
