"""Which runs a pool's workers have a word of still: what they keep for a run beside Redis goes when that word does.

It needs no right beyond the pool's own keys, and it cannot tell a run that goes on from one that has ended lately.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from queues import keys


def known_runs(connection: redis.Redis, pool: str, run_ids: Sequence[str]) -> list[bool]:
    """For each run, whether the pool's stream of it is there: from its first call there on, until the retention after
    the pool's last word about it is over.
    """
    with connection.pipeline(transaction=False) as pipeline:
        for run_id in run_ids:
            pipeline.exists(keys.part_events(pool, run_id))
        return [bool(found) for found in pipeline.execute()]
