"""Lists runs, page by page, the newest first; reads the snapshots of those that match, and changes no run."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunOutput, RunStatus
from queues import keys
from queues.scripts import Scripts
from queues.stored_runs import FIELDS, log_fields, read_run

MOST_LOOKED_AT = 1000
_AT_ONE_GO = 50  # snapshots, which may be large


class RunPage(list[RunOutput]):
    """Some runs, the newest first. `before` leads to the next page, whether or not this one has any; None if there are
    no older runs.
    """

    before: str | None = None


class RunList:
    """The runs in the order of their submission, the newest first."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)

    def page(
        self, *, status: RunStatus | Collection[RunStatus] | None, agent: str | None, limit: int, before: str | None
    ) -> RunPage:
        """Up to `limit` runs that match, older than the run `before`; looks at no more than MOST_LOOKED_AT.

        RunNotFoundError if `before` is none that is kept. Runs that are gone are taken out of the index on the way.
        """
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is {limit!r}; ask for 1 run or more")
        statuses = None if status is None else _statuses(status)
        asked_for = min(limit, MOST_LOOKED_AT) if statuses is None and agent is None else MOST_LOOKED_AT
        verdict, *run_ids = self._scripts.row("page_runs", [keys.RUNS], [before or "", asked_for])
        if verdict == "missing":
            raise RunNotFoundError(f"there is no run {before!r} to go on from (any more); begin again without before=")
        page, fitting, gone = RunPage(), self._fitting(run_ids, statuses, agent), set[str]()
        while fitting and len(page) < limit:
            batch = [fitting.popleft() for _ in range(min(len(fitting), limit - len(page), _AT_ONE_GO))]
            for run_id, found, log in self._stored(batch):
                try:
                    output = read_run(run_id, found, log).snapshot.output
                except RunNotFoundError:
                    gone.add(run_id)
                    continue
                # Once more: it may have moved on since its hash was asked.
                if _fits(output.status, output.agent_name, statuses, agent):
                    page.append(output)
            page.before = batch[-1]
        if not fitting:
            page.before = run_ids[-1] if len(run_ids) == asked_for else None
        # The next page is found from there.
        if forgotten := gone - {page.before}:
            self._connection.zrem(keys.RUNS, *forgotten)
        return page

    def _fitting(self, run_ids: Sequence[str], statuses: Collection[str] | None, agent: str | None) -> deque[str]:
        """Those that match as far as their hashes tell; the snapshots of the others are not read at all."""
        if statuses is None and agent is None:
            return deque(run_ids)
        told = self._fields(run_ids, "status", "agent")
        return deque(
            run_id for run_id, (stands, of) in zip(run_ids, told, strict=True) if _fits(stands, of, statuses, agent)
        )

    def _stored(self, run_ids: Sequence[str]) -> Iterator[tuple[str, list[str | None], list[str | None]]]:
        """The ids with what `read_run` wants to see of each."""
        found = self._fields(run_ids, *FIELDS)
        log_names = {
            run_id: names
            for run_id, (_, logged, *_) in zip(run_ids, found, strict=True)
            if (names := log_fields(logged))
        }
        logs = dict(zip(log_names, self._each(log_names), strict=True))
        return ((run_id, told, logs.get(run_id, [])) for run_id, told in zip(run_ids, found, strict=True))

    def _fields(self, run_ids: Sequence[str], *names: str) -> list[list[str | None]]:
        return self._each(dict.fromkeys(run_ids, names))

    def _each(self, wanted: Mapping[str, Sequence[str]]) -> list[list[str | None]]:
        """The fields wanted of each run's hash, at one go."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for run_id, names in wanted.items():
                pipeline.hmget(keys.run(run_id), list(names))
            return cast(list[list[str | None]], pipeline.execute())


def _statuses(wanted: RunStatus | Collection[RunStatus]) -> set[RunStatus]:
    """One status or several; by their plain names, too. A text is one, never a collection of its letters."""
    each = {wanted} if isinstance(wanted, str) else set(wanted)
    if unknown := sorted(str(one) for one in each if one not in set(RunStatus)):
        raise ValueError(f"there is no status {', '.join(unknown)}; choose of {', '.join(RunStatus)}")
    return {RunStatus(one) for one in each}


def _fits(
    found_status: str | None, found_agent: str | None, statuses: Collection[str] | None, agent: str | None
) -> bool:
    """Whether a run may match; one that is gone is looked at, too, so that the index forgets it."""
    if found_status is None:
        return True
    return (statuses is None or found_status in statuses) and (agent is None or found_agent == agent)
