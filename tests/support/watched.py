"""A project whose runs a real Flower watches, and what a person or a program sees of them there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.waiting import comes_true, wait_until
from tests.support.walking import Walk, flower, walking
from workers.child import ChildCommand

PROJECT = Path(__file__).parent / "watched_project"
BOUND = 60
LOGIN = ("ada", "lovelace")
TOKEN = "greeting-token-4711"
"""A secret of the pool `open`, the only one that opted in."""

Task = Mapping[str, Any]


@dataclass
class Watched:
    """A project and its Flower. Tests ask its API with the password, or as they say."""

    walk: Walk
    command: ChildCommand

    @property
    def url(self) -> str:
        arguments = self.command.command
        return f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}"

    def get(self, path: str, **how: Any) -> httpx2.Response:
        """What Flower answers to whoever has the password."""
        return self.ask("GET", path, **{"auth": LOGIN, **how})

    def post(self, path: str, **how: Any) -> httpx2.Response:
        """What Flower says to an order of whoever has the password."""
        return self.ask("POST", path, **{"auth": LOGIN, **how})

    def ask(self, method: str, path: str, **how: Any) -> httpx2.Response:
        with httpx2.Client(trust_env=False, timeout=30) as client:
            return client.request(method, self.url + path, **how)

    def submit(self, prompt: str, agent: str = "ops") -> RunHandle:
        return self.walk.client.submit(agent, prompt)

    def done(self, prompt: str, agent: str = "ops") -> RunHandle:
        """A run that has ended."""
        run = self.submit(prompt, agent)
        run.wait(timeout=BOUND)
        return run

    def gate(self, name: str) -> Path:
        """A file that a tool waits for."""
        return self.walk.settings.project_dir / name

    def task(self, task_id: str) -> Task:
        """What Flower knows of a task; nothing if it does not know it."""
        answer = self.get(f"/api/task/info/{task_id}")
        return answer.json() if answer.status_code == httpx2.codes.OK else {}

    def tasks_of(self, run: RunHandle) -> dict[str, Task]:
        """All that Flower shows of a run, by what follows the run's id: '' is its start."""
        found = self.get("/api/tasks").json()
        return {key.removeprefix(run.run_id): task for key, task in found.items() if key.startswith(run.run_id)}

    def call(self, run: RunHandle, tool: str) -> Task:
        """The task of the run's only call of this tool; nothing if there is none yet."""
        return next((t for t in self.tasks_of(run).values() if str(t["name"]).endswith(f".{tool}")), {})

    def comes_to(self, what: Callable[[], Task], **expected: object) -> Task:
        """The task once it shows this."""

        found: Task = {}

        def shows() -> bool:
            nonlocal found
            found = what()
            return all(found.get(key) == value for key, value in expected.items())

        assert comes_true(shows, timeout_seconds=BOUND), f"wanted {expected}, Flower shows {dict(found)}"
        return found

    def workers(self) -> dict[str, dict[str, Any]]:
        """The rows of the page of workers."""
        return {row["hostname"]: row for row in self.get("/workers?json=1").json()["data"]}

    def asked_workers(self) -> dict[str, object]:
        """Who has answered all of Flower's questions: it asks for a second when it starts, and when it is told to."""
        known = self.get("/api/workers", params={"refresh": "1"}).json()
        return {name: told for name, told in known.items() if told.keys() >= {"stats", "active_queues", "registered"}}

    def asked_worker(self, name: str, has_told: Callable[[Mapping[str, Any]], object]) -> Mapping[str, Any]:
        """What a worker answers once it has told that; on a busy machine an answer may come after the second."""
        told: Mapping[str, Any] = {}

        def has_answered() -> bool:
            nonlocal told
            answer = self.get("/api/workers", params={"refresh": "1", "workername": name})
            told = answer.json().get(name, {}) if answer.status_code == httpx2.codes.OK else {}
            return bool(has_told(told))

        assert comes_true(has_answered, timeout_seconds=BOUND), f"{name} tells Flower {told}"
        return told

    def heard_until(self) -> None:
        """Flower has taken in everything that was told before this: a run of its own went all the way."""
        run = self.done("Run true")
        self.comes_to(lambda: self.task(f"{run.run_id}:1"), state="SUCCESS")

    def start(self) -> None:
        """Start Flower (again)."""
        self.walk.processes.start(self.command)

    @property
    def history(self) -> Path:
        return self.walk.settings.state_dir / "flower-history"

    def saved(self, tasks: Mapping[str, Task]) -> None:
        """Flower has written these tasks down as they are."""

        def of(task: Task) -> tuple[object, ...]:
            return tuple(task.get(field) for field in ("state", "result", "received", "started", "succeeded", "failed"))

        def is_saved() -> bool:
            text = self.history.read_bytes() if self.history.exists() else b""
            # The last line may still be written.
            records = [json.loads(line) for line in text.rpartition(b"\n")[0].splitlines()]
            written = {record["task"]["uuid"]: of(record["task"]) for record in records if "task" in record}
            return all(written.get(key) == of(task) for key, task in tasks.items())

        wait_until(is_saved, "the history is saved", timeout_seconds=BOUND)


def flower_of(walk: Walk, **environment: str) -> ChildCommand:
    """A Flower of its own, with the password unless the environment says otherwise."""
    command = flower(walk)
    return replace(command, env={**command.env, "FLOWER_BASIC_AUTH": ":".join(LOGIN), **environment})


@contextmanager
def watching(folder: Path, server: EmbeddedServer) -> Iterator[Watched]:
    """The project with all its processes and a Flower."""
    server.revive()
    with connect(server.url) as connection:
        connection.flushall()
    with walking(folder, server.url, source=PROJECT) as walk:
        watched = Watched(walk, flower_of(walk))
        watched.start()
        everybody = {"agents@test", "shell@test", "python@test", "open@test"}
        for what, known in (("heard of", watched.workers), ("asked", watched.asked_workers)):
            wait_until(partial(_has, known, everybody), f"Flower has {what} all workers", timeout_seconds=BOUND)
        yield watched


def _has(known: Callable[[], Mapping[str, object]], wanted: set[str]) -> bool:
    return wanted <= set(known())
