"""Who waits in Redis by a command that blocks there. An earlier test may have left somebody on a shared server."""

from __future__ import annotations

from typing import Any

import redis


def blocked(connection: redis.Redis, **known: str) -> set[str]:
    """The connections that wait, by the ids that the server gave them; only those of whom it says what is known."""
    clients: list[dict[str, Any]] = connection.client_list()
    return {str(client["id"]) for client in clients if "b" in client["flags"] and known.items() <= client.items()}
