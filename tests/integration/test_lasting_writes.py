"""A submit that is confirmed by a replica, or by the disk, was confirmed for what it wrote, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from queues.client import Client
from queues.connections import Durability, connect
from queues.errors import StoreUnreachableError
from queues.lasting_writes import written_through
from queues.run_handle import RunHandle
from tests.support.server_pair import ServerPair

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ServerPair]:
    with ServerPair(tmp_path) as pair:
        yield pair


def submitted(url: str, name: str) -> RunHandle:
    """A run that a replica has, over a connection that has written nothing before."""
    with Client(url, durability="replica") as client:
        return client.submit("ops", name, idempotency_key=name)


def test_a_repeat_is_not_confirmed_by_a_replica_that_has_not_heard_of_it(pair: ServerPair) -> None:
    """A repeat that wrote nothing would be told at once that nothing has to be waited for."""
    first = submitted(pair.url, "before")
    pair.lag()
    with ThreadPoolExecutor(2) as producers:
        for one in [producers.submit(submitted, pair.url, name) for name in ("before", "meanwhile")]:
            with pytest.raises(StoreUnreachableError, match="no replica confirmed it"):
                one.result()
    pair.link.resume()
    run = submitted(pair.url, "meanwhile")
    assert run.is_repeat and run.run_id != first.run_id
    assert pair.replica.operator.exists(f"errandry:run:{{{run.run_id}}}")


@pytest.mark.parametrize("durability", ["replica", "fsync"])
def test_another_connection_confirms_nothing(durability: Durability, pair: ServerPair) -> None:
    """It would say yes at once, for it has written nothing."""
    with connect(pair.url) as connection:
        with (
            pytest.raises(StoreUnreachableError, match="went away before it was safe"),
            written_through(connection, durability) as single,
        ):
            single.set("key", "value")
            assert pair.primary.operator.client_kill_filter(_type="normal", skipme=True)
        with written_through(connection, durability) as single:
            single.set("key", "value")
