"""What most commands open first: the project's settings and a client; imports both only when they are needed.

Never builds settings from anything but the project's file and the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queues.client import Client
    from queues.settings import Settings


def project_settings() -> Settings:
    """The settings of the project in the current folder, or above it."""
    # pydantic-settings is a third of the time that `errandry --help` may take.
    from queues.settings import load_settings  # noqa: PLC0415

    return load_settings()


def importable_project() -> Settings:
    """The same, with the modules of the project's folder importable from now on."""
    settings = project_settings()
    sys.path.insert(0, str(settings.project_dir))
    return settings


@contextmanager
def open_client() -> Iterator[Client]:
    """A client of the project's Redis, closed at the end of the block."""
    # Redis and the agents' values: half a second that `errandry --help` does not need.
    from queues.client import Client  # noqa: PLC0415

    client = Client.from_settings()
    try:
        yield client
    finally:
        client.close()
