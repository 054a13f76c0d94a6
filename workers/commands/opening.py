"""What most commands open first: the project's settings and a client; imports both only when they are needed.

Never builds settings from anything but the project's file and the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from queues.errors import SettingsError

if TYPE_CHECKING:
    from queues.client import Client
    from queues.settings import Settings


def project_settings() -> Settings:
    """The settings of the project in the current folder, or above it; SettingsError if there is none."""
    # pydantic-settings is a third of the time that `errandry --help` may take.
    from queues.settings import load_settings  # noqa: PLC0415
    from queues.settings_file import no_project  # noqa: PLC0415

    settings = load_settings()
    if settings.redis_url is None and not settings.is_project:
        raise SettingsError(no_project(settings.project_dir))
    return settings


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
