"""Flower for one project: the Celery monitor in this process, kept to this machine and with its history on disk.

Never listens beyond this machine without a password: whoever reaches Flower may stop workers.
"""

from __future__ import annotations

import ipaddress
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from flower.options import default_options
from flower.urls import settings as web_settings
from flower.utils import strtobool
from tornado.ioloop import IOLoop

from agent_core.errors import ErrandryError
from queues.celery_app import watching_app
from queues.errors import SettingsError
from queues.settings import Settings
from workers.processes import ensure_port_free
from workers.watching.doors import Doors
from workers.watching.history import HistoryFile
from workers.watching.queue_lengths import ask_at
from workers.watching.watcher import Watcher

READY = "Flower is ready at"
"""What the log says once Flower serves; the supervisor waits for it."""

_OPEN_API = "FLOWER_UNAUTHENTICATED_API"
_SAVE_MILLISECONDS = 10_000
# About 4 kB of memory each; older ones are forgotten.
_MOST_TASKS = 20_000
_COLUMNS = "name,uuid,state,result,received,runtime,worker"


class FlowerError(ErrandryError):
    """Flower cannot work here."""


def serve(
    settings: Settings, *, address: str, port: int, basic_auth: Sequence[str], on_ready: Callable[[str], None]
) -> None:
    """Serve Flower until SIGTERM or Ctrl-C, then write its history down. The settings hold a `redis_url`.

    SettingsError if the address is not this machine's own and nobody has to give a password; ProcessError if the port
    is taken; HistoryError if another Flower of this project runs.
    """
    _refuse_open_doors(address, basic_auth)
    ensure_port_free(address, port, what="Flower", option="--port")
    history = HistoryFile(_private_folder(settings.state_dir) / "flower-history")
    default_options.address = address
    default_options.port = port
    default_options.basic_auth = list(basic_auth)
    default_options.max_tasks = _MOST_TASKS
    default_options.tasks_columns = _COLUMNS
    # Its API refuses all orders without a password, so its pages offer none.
    default_options.read_only = not basic_auth and not _is_api_open()
    assert settings.redis_url is not None
    ask_at(settings.redis_url.get_secret_value())
    app, loop = watching_app(settings), IOLoop.current()
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    events = Watcher(
        history,
        on_listening=lambda: on_ready(url),
        capp=app,
        io_loop=loop,
        state_save_interval=_SAVE_MILLISECONDS,
        max_workers_in_memory=default_options.max_workers,
        max_tasks_in_memory=_MOST_TASKS,
    )
    default_options.format_task = lambda task: events.presented(task)
    flower = Doors(
        knows_callers=bool(basic_auth), capp=app, options=default_options, events=events, io_loop=loop, **web_settings
    )
    flower.start_http_server()
    # Through the event loop, because stopping writes the history to disk.
    for number in (signal.SIGTERM, signal.SIGINT):
        flower.io_loop.asyncio_loop.add_signal_handler(number, flower.stop)
    flower.start()


def _refuse_open_doors(address: str, basic_auth: Sequence[str]) -> None:
    if not basic_auth and not _is_loopback(address):
        raise SettingsError(
            f"Flower on {address} could be reached from other machines, and whoever reaches it may stop workers; "
            "add --basic-auth USER:PASSWORD, or leave --address out."
        )
    if any(not all(entry.partition(":")) for entry in basic_auth):
        raise SettingsError("--basic-auth wants USER:PASSWORD, neither of them empty.")


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_api_open() -> bool:
    """Whether Flower's API takes orders of this machine's own programs without a password."""
    value = os.environ.get(_OPEN_API) or "false"
    try:
        return bool(strtobool(value))
    except ValueError:
        raise SettingsError(f"{_OPEN_API} is {value!r}; write true or false, or leave it out.") from None


def _private_folder(folder: Path) -> Path:
    """The project's state folder, for its owner alone: who reads the history reads what Flower shows."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise FlowerError(
            f"Flower cannot keep its history in {folder}: {error.strerror}; make the folder writable."
        ) from error
    return folder
