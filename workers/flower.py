"""Flower for one project: the Celery monitor in this process, kept to this machine and with its history on disk.

Never listens beyond this machine without a password: whoever reaches Flower may send tasks and stop workers.
"""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from flower.app import Flower
from flower.options import default_options
from flower.urls import settings as web_settings

from agent_core.errors import ErrandryError
from queues.celery_app import watching_app
from queues.errors import SettingsError
from queues.settings import Settings
from workers.processes import ensure_port_free

READY = "Flower is ready at"
"""What the log says once Flower serves; the supervisor waits for it."""

_SAVE_MILLISECONDS = 10_000


class FlowerError(ErrandryError):
    """Flower cannot work here."""


def serve(
    settings: Settings, *, address: str, port: int, basic_auth: Sequence[str], on_ready: Callable[[str], None]
) -> None:
    """Serve Flower until SIGTERM or Ctrl-C, then write its history down. The settings hold a `redis_url`.

    SettingsError if the address is not this machine's own and nobody has to give a password; ProcessError if the port
    is taken.
    """
    _refuse_open_doors(address, basic_auth)
    ensure_port_free(address, port, what="Flower", option="--port")
    default_options.address = address
    default_options.port = port
    default_options.basic_auth = list(basic_auth)
    default_options.persistent = True
    default_options.state_save_interval = _SAVE_MILLISECONDS
    default_options.db = str(_private_folder(settings.state_dir) / "flower")
    flower = Flower(capp=watching_app(settings), options=default_options, **web_settings)
    flower.start_http_server()
    flower.io_loop.add_callback(on_ready, f"http://{f'[{address}]' if ':' in address else address}:{port}")
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


def _private_folder(folder: Path) -> Path:
    """The project's state folder, for its owner alone: arguments and results of tasks may lie in Flower's history."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise FlowerError(
            f"Flower cannot keep its history in {folder}: {error.strerror}; make the folder writable."
        ) from error
    return folder
