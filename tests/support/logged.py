"""A project whose every word is a canary, all its processes running with their own logs; what each of them wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from queues.acl import AGENTS, FLOWER, GATEWAY, pool_user
from queues.client import Client
from queues.embedded import EmbeddedServer
from queues.redis_url import project_roles, resolved, url_of
from queues.settings import Settings, load_settings
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from workers.child import ChildCommand
from workers.gateway.api_keys import create_key
from workers.model_server.script import load_script
from workers.model_server.server import ModelServer
from workers.processes import ProcessGroup

PROJECT = Path(__file__).parent / "canaries"
SECRET, MODEL_KEY, WEBHOOK_SECRET = "canary-secret-of-the-pool", "sk-canary-key", "canary-secret-of-webhooks"
_START_SECONDS = 60.0
_LISTENS = re.compile(r"Gateway is ready at (http://[\d.:]+)")


@dataclass(frozen=True)
class Logged:
    """The project, and the lines of its processes, `(process, line)`."""

    client: Client
    settings: Settings
    server: EmbeddedServer
    processes: ProcessGroup
    lines: list[tuple[str, str]]
    api_key: str

    def of(self, process: str) -> list[str]:
        """The lines of one process so far."""
        return [line for name, line in self.lines if name == process]

    def objects(self, process: str | None = None) -> list[dict[str, Any]]:
        """The lines so far as JSON objects; fails at a line that is none."""
        return [json.loads(line) for name, line in self.lines if process in (None, name)]

    def wait_for(self, pattern: str) -> str:
        """The first line in which the pattern is found."""

        def found() -> list[str]:
            return [line for _, line in self.lines if re.search(pattern, line)]

        wait_until(found, f"a line says {pattern}", timeout_seconds=_START_SECONDS)
        return found()[0]

    @property
    def gateway_url(self) -> str:
        """Where the gateway listens."""
        line = self.wait_for("Gateway is ready at")
        found = _LISTENS.search(line)
        assert found is not None, line
        return found[1]

    def canaries(self) -> Sequence[str]:
        """What nobody may log."""
        urls = [url_of(self.settings, role.user) for role in project_roles(self.settings)]
        return ["canary", *filter(None, (urlsplit(url).password for url in urls)), self.api_key]


@contextmanager
def logging_in(form: str, folder: Path) -> Iterator[Logged]:
    """All processes of the project, each of them ready, with its log in this form. Webhooks may go to this machine."""
    folder.chmod(0o755)  # pytest makes it private to root, and tools never run as root
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    settings = load_settings(folder)
    api_key = create_key(settings.api_keys_file, "canary", roles=["submit", "read"])
    lines: list[tuple[str, str]] = []
    with (
        EmbeddedServer.start(settings.state_dir, roles=project_roles(settings)) as server,
        ModelServer(load_script(folder / "model_script.toml")) as model,
        ProcessGroup(on_line=lambda name, line: lines.append((name, line))) as processes,
        Client(url_of(settings)) as client,
    ):
        model_variables = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": MODEL_KEY}
        processes.start(
            _process(settings, form, "agent-worker", AGENTS, [], model_variables, "worker is ready"),
            _process(
                settings, form, "tool-worker", pool_user("shell"), ["--pool", "shell"], {"TOKEN": SECRET}, "is ready"
            ),
            _process(settings, form, "gateway", GATEWAY, [], {"WEBHOOK_SECRET": WEBHOOK_SECRET}, "Gateway is ready at"),
            _process(settings, form, "flower", FLOWER, ["--port", str(free_port())], {}, "Flower is ready at"),
        )
        yield Logged(client, settings, server, processes, lines, api_key)


def _process(
    settings: Settings, form: str, name: str, user: str, more: list[str], variables: dict[str, str], ready: str
) -> ChildCommand:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ERRANDRY_", "OPENAI_", "FLOWER_"))}
    environment = kept | resolved(settings, user).as_environment() | variables
    return ChildCommand(
        name=name,
        command=[sys.executable, "-P", "-m", "workers.cli", name, *more, "--log-format", form],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        cwd=settings.project_dir,
        ready_line=re.compile(ready),
        ready_timeout_seconds=_START_SECONDS,
    )
