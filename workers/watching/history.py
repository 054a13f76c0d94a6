"""Flower's history of tasks on disk, for one Flower at a time: a line of JSON for each change, so that a save is as
short as what has changed. What is read back is what was saved last, also after a kill in the middle of a line.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from celery.events.state import Task, Worker
from flower.events import EventsState

from agent_core.errors import ErrandryError

_log = logging.getLogger("errandry")

_HEADER = {"history of flower": 1}
_UNSAVED = frozenset({"worker", "root", "parent", "children"})


class HistoryError(ErrandryError):
    """The history cannot be kept; the sentence says where and why."""


class HistoryFile:
    """One file, held by this process until it ends: a second holder is refused. OSError of a write changes nothing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines = 0
        self._lock = _locked(file.with_name(f"{file.name}.lock"))

    def read(self) -> list[dict[str, Any]]:
        """All records, the oldest first. A file with anything unreadable is copied aside, and told of in the log."""
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HistoryError(f"Flower cannot read its history {self.file}: {error.strerror}.") from error
        records = [_record(line) for line in lines]
        if lines and records[0] != _HEADER:
            records = []
        found = [record for record in records[1:] if record is not None]
        if len(found) + 1 < len(lines) or (lines and not records):
            aside = self.file.with_name(f"{self.file.name}.unreadable")
            aside.write_bytes(b"\n".join(lines))
            aside.chmod(0o600)
            _log.warning(
                "of Flower's history %s of %s lines can be read; the file as it was is %s",
                len(found),
                len(lines),
                aside,
            )
        return found

    def append(self, records: Iterable[Mapping[str, object]]) -> None:
        """Add these at the end."""
        lines = [json.dumps(record) + "\n" for record in records]
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write("".join(lines).encode())
        self.lines += len(lines)

    def rewrite(self, records: Iterable[Mapping[str, object]]) -> None:
        """Put these in the place of all that was written before."""
        lines = [json.dumps(record) + "\n" for record in (_HEADER, *records)]
        new = self.file.with_name(f"{self.file.name}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.file)
        self.lines = len(lines)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _locked(file: Path) -> IO[str]:
    try:
        lock = file.open("a+", encoding="utf-8")
    except OSError as error:
        raise HistoryError(
            f"Flower cannot keep its history in {file.parent}: {error.strerror}; make the folder writable."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        pid = lock.read().strip()
        lock.close()
        raise HistoryError(
            f"Another Flower of this project runs{f' (process {pid})' if pid else ''} and keeps the history in "
            f"{file.parent}; use that one, or stop it first."
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def record_of(task: Task) -> dict[str, object]:
    """A task as it is written down: what is known of it, and nothing that follows from other tasks."""
    known = {name: getattr(task, name, None) for name in task._fields if name not in _UNSAVED}
    worker = task.worker.hostname if task.worker is not None else None
    return {"task": {name: value for name, value in {**known, "worker": worker}.items() if value is not None}}


def counters_of(state: EventsState) -> dict[str, object]:
    """What Flower's page of workers counts."""
    return {"counters": {worker: dict(counter) for worker, counter in state.counter.items()}}


def restore(state: EventsState, records: Iterable[Mapping[str, Any]]) -> None:
    """Put the records into an empty state; of a task the last one counts."""
    tasks: dict[str, Mapping[str, Any]] = {}
    for record in records:
        match record:
            case {"task": {"uuid": str(uuid)} as fields}:
                tasks.pop(uuid, None)
                tasks[uuid] = fields
            case {"counters": dict(counters)}:
                for worker, counter in counters.items():
                    state.counter[worker].clear()
                    state.counter[worker].update(counter)
    for uuid, fields in list(tasks.items())[-state.tasks.limit :]:
        known = {name: value for name, value in fields.items() if name in Task._fields and name not in _UNSAVED}
        task = Task(cluster_state=state, **known)
        if isinstance(name := fields.get("worker"), str):
            task.worker = state.workers.get(name) or state.workers.setdefault(name, Worker(name))
        state.tasks[uuid] = task
        if task.name:
            state._seen_types.add(task.name)
            state.tasks_by_type[task.name].add(task)
        state.search_engine.upsert(task)
    for _, task in state.itertasks():
        parent = state.tasks.data.get(task.parent_id)
        if parent is not None:
            parent.children.add(task)
