"""A whole project in real processes that can be killed, frozen and started again one by one, the server included."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from queues.acl import AGENTS, PRODUCER, pool_user, roles
from queues.client import Client
from queues.embedded import EmbeddedServer
from queues.settings import Settings, load_settings
from tests.support.chaos.ledger import Ledger
from tests.support.chaos.nursery import Nursery, Sprout
from tests.support.chaos.server import Server
from tests.support.chaos.shapes import Shape, script_of
from tests.support.chaos.tools import LEDGER, name_of_executions
from tests.support.processes import descendants, name_of, process_ids, processes_of
from tests.support.waiting import wait_until
from workers.child import Child, ChildCommand

POOLS = {"letters": ("write_letter",), "pages": ("fetch_page", "trip"), "scales": ("weigh",)}
_AGENTS = "tests.support.chaos.agents:chaotic"
_TOOLS = "tests.support.chaos.tools"
_ROOT = Path(__file__).parents[3]
_READY_SECONDS = 90.0


class Fleet:
    """A server, a scripted model, agent workers `agents1`, `agents2`, … and tool workers `letters1`, `pages1`, ….

    Leases are short, so that what was killed is found out soon. Leaving the `with` block ends every process.
    """

    def __init__(
        self,
        folder: Path,
        shapes: Iterable[Shape],
        *,
        seats: dict[str, int],
        lease_seconds: float = 2.0,
        drain_seconds: float = 20.0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # pytest makes it private to root, and tools never run as root
        self.folder = folder
        self.seats = seats
        (folder / "ledger").mkdir(exist_ok=True)
        self.ledger = Ledger(folder / "ledger" / "ledger.txt")
        self._script = folder / "model_script.toml"
        self._script.write_text(script_of(shapes))
        self.lease_seconds = lease_seconds
        self.timing = {"lease_seconds": lease_seconds, "drain_seconds": drain_seconds}
        self._log = (folder / "processes.log").open("w", encoding="utf-8", buffering=1)
        self._children: dict[str, Child | Sprout] = {}
        self._nurseries: dict[tuple[str, ...], Nursery] = {}
        self._frozen: set[str] = set()

    def __enter__(self) -> Self:
        self.settings = self._settings()
        self.server = self._open_server()
        self.client = Client(self.server.url_of(PRODUCER))
        try:
            self._model = self._model_environment()
            for name in self.workers():
                self.start(name)
            for name in self.workers():
                self.await_ready(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def workers(self, kind: str = "") -> list[str]:
        """The names of all workers, or of the agent workers (`agents`), or of those of one pool."""
        return [
            f"{seat}{number}"
            for seat, count in self.seats.items()
            if kind in ("", seat)
            for number in range(1, count + 1)
        ]

    def tool_workers(self) -> list[str]:
        return [name for pool in self.settings.pools for name in self.workers(pool)]

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def is_up(self, name: str) -> bool:
        """Whether the worker consumes."""
        child = self._children.get(name)
        return child is not None and not child.ended.is_set() and child.is_ready and name not in self._frozen

    def has_ended(self, name: str) -> bool:
        return self._children[name].ended.is_set()

    def how_it_ended(self, name: str) -> str:
        return self._children[name].how_it_ended()

    def start(self, name: str) -> None:
        """Start a worker that was never started or has ended; `await_ready` waits for it."""
        self._frozen.discard(name)
        self._spawn(self._worker(name), seat=_seat_of(name))

    def await_ready(self, name: str) -> None:
        child = self._children[name]
        wait_until(lambda: child.is_ready or child.ended.is_set(), f"{name} is ready", timeout_seconds=_READY_SECONDS)
        assert not child.ended.is_set(), (name, child.last_lines)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        self._children[name].kill()
        wait_until(self._children[name].ended.is_set, f"{name} is gone")

    def restart(self, name: str) -> None:
        self.start(name)
        self.await_ready(name)

    def terminate(self, name: str) -> None:
        """SIGTERM: the worker is to finish what it holds and leave."""
        self._children[name].terminate()

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pid(name), number)

    def freeze(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), signal.SIGCONT)
        self._frozen.discard(name)

    def kill_server(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        wait_until(lambda: not self.server.is_alive, "the server is gone")

    def mend(self) -> list[str]:
        """Start again whatever has ended, the server included; returns what that was."""
        mended = ["server"] if self.server.revive() else []
        for name in self.workers():
            if self.has_ended(name):
                self.start(name)
                mended.append(name)
        return mended

    def make_whole(self) -> None:
        """All processes are up, and the workers consume."""
        self.mend()
        for name in self.workers():
            self.await_ready(name)

    def executions(self) -> list[int]:
        """The processes that execute a tool right now; they bear a name for that."""
        name = name_of_executions(str(self.ledger.path))
        return [pid for pid in process_ids() if name_of(pid) == name]

    def sandboxes(self) -> list[int]:
        """All processes of the walls around tools: whatever tool workers have started, idle or not."""
        workers = [self.pid(name) for name in self.tool_workers() if not self.has_ended(name)]
        return descendants(workers)

    def leftovers(self) -> list[int]:
        """Every process that this fleet has started, directly or not, and that still runs."""
        return processes_of(self.folder)

    def stop(self) -> None:
        for name in list(self._frozen):
            self.thaw(name)
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            if not child.ended.wait(20):
                child.kill()
                child.ended.wait(5)
        for nursery in self._nurseries.values():
            nursery.close()
        self.client.close()
        self.server.stop()
        self._log.close()

    def said(self) -> str:
        """All that the processes have printed."""
        return (self.folder / "processes.log").read_text(encoding="utf-8", errors="replace")

    def _open_server(self) -> Server:
        return EmbeddedServer.start(self.folder / "server", roles=roles(list(self.settings.pools)))

    def _inside(self, seat: str) -> tuple[str, ...]:
        """The words before a command that start it where the processes of that seat live."""
        return ()

    def _spawn(self, command: ChildCommand, *, seat: str) -> None:
        inside = self._inside(seat)
        if inside not in self._nurseries:
            env = {**_plain(), "PYTHONPATH": str(_ROOT), "CHAOS": str(self.folder)}
            self._nurseries[inside] = Nursery(env, self.folder, inside=inside)
        self._children[command.name] = self._nurseries[inside].start(command, on_line=self._write_down)

    def _write_down(self, name: str, line: str) -> None:
        with contextlib.suppress(ValueError):  # closed: nobody reads any more
            self._log.write(f"{name} | {line}\n")

    def _model_environment(self) -> dict[str, str]:
        """What agent workers find their model by."""
        return self._scripted_model(self._script)

    def _scripted_model(self, script: Path) -> dict[str, str]:
        address: list[str] = []
        announced = threading.Event()

        def note(name: str, line: str) -> None:
            self._write_down(name, line)
            if found := re.search(r"ready at (\S+)", line):
                address.append(found[1])
                announced.set()

        command = [*self._inside("agents"), sys.executable, "-m", "workers.model_server", "--script", str(script)]
        model = ChildCommand(name="model", command=command, env={**_plain(), "CHAOS": str(self.folder)}, cwd=_ROOT)
        self._children["model"] = Child(model, on_line=note, on_end=lambda _: announced.set())
        assert announced.wait(_READY_SECONDS) and address, self._children["model"].last_lines
        return {"OPENAI_BASE_URL": address[0], "OPENAI_API_KEY": "none"}

    def _worker(self, name: str) -> ChildCommand:
        seat = _seat_of(name)
        if seat == "agents":
            module, concurrency, user = "workers.agent_worker", self.settings.agent_concurrency, AGENTS
            more = self._model
        else:
            module, concurrency, user = "workers.tool_worker", self.settings.pools[seat].concurrency, pool_user(seat)
            more = {"ERRANDRY_WORKER_POOL": seat}
        settings = self.settings.with_redis_url(self.server.url_of(user))
        return ChildCommand(
            name=name,
            command=[sys.executable, "-m", "celery", "-A", module, "worker", "--pool=threads",
                     f"--concurrency={concurrency}", f"--hostname={name}@chaos", "--without-gossip", "--without-mingle",
                     "--task-events", "--loglevel=INFO"],
            env={**_plain(), **settings.as_environment(), **more, LEDGER: str(self.ledger.path),
                 "PYTHONPATH": f"{_ROOT}:{settings.project_dir}"},
            cwd=settings.project_dir,
            ready_line=re.compile(r" ready\.$"),
            ready_timeout_seconds=_READY_SECONDS,
        )  # fmt: skip

    def _settings(self) -> Settings:
        lines = [f'agents = ["{_AGENTS}"]']
        for pool, tools in POOLS.items():
            listed = ", ".join(f'"{_TOOLS}:{tool}"' for tool in tools)
            lines.append(f"[pools.{pool}]\ntools = [{listed}]\nconcurrency = 3\n[pools.{pool}.sandbox]")
            # The ledger has to be written from within a call.
            lines.append(f'read_write = ["{self.ledger.path.parent}"]\nenv = ["LANG", "{LEDGER}"]')
        (self.folder / "errandry.toml").write_text("\n".join(lines) + "\n")
        return load_settings(self.folder, agent_concurrency=8, **self.timing, **self._address())

    def _address(self) -> dict[str, object]:
        """The settings that lead to the server, where it is not ours."""
        return {}


def _seat_of(name: str) -> str:
    return name.rstrip("0123456789")


def _plain() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("ERRANDRY_", "OPENAI_"))}
