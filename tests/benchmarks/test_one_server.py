"""What a run costs the server in CPU time, from which follows how many of them one server carries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from tests.support.valkey import configured
from tests.support.walking import walking

pytestmark = [pytest.mark.benchmark, pytest.mark.redis, pytest.mark.timeout(900)]

RUNS, IDLE_SECONDS = 100, 10.0


def _cpu_seconds(connection: redis.Redis) -> float:
    told = connection.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def test_cpu_of_the_server_per_run(tmp_path: Path, redis_url: str, redis_connection: redis.Redis) -> None:
    """Each run: two model turns, two calls in two pools, one inline; workers that wait are counted apart."""
    with walking(tmp_path, redis_url, lease_seconds=10) as walk:
        walk.client.submit("ops", "Everything at once").wait(timeout=60)
        for fsync in ("everysec", "always"):
            with configured(redis_connection, "appendfsync", fsync):
                before = _cpu_seconds(redis_connection)
                time.sleep(IDLE_SECONDS)
                idle = (_cpu_seconds(redis_connection) - before) / IDLE_SECONDS
                before, begun = _cpu_seconds(redis_connection), time.monotonic()
                runs = [walk.client.submit("ops", "Everything at once") for _ in range(RUNS)]
                for run in runs:
                    run.wait(timeout=300)
                used = _cpu_seconds(redis_connection) - before - idle * (time.monotonic() - begun)
                print(
                    f"\nappendfsync {fsync}: {1000 * used / RUNS:.1f} ms of the server's CPU per run of three calls; "
                    f"three workers that wait take {100 * idle:.1f} % of a core"
                )
