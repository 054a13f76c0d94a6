"""Whether the kinds of processes are different Redis users, judged by who is connected just now. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import redis

from queues.checkup import Finding, ok, warning

AGENT_WORKER = "errandry-agent-worker"
TOOL_WORKER = "errandry-tool-worker-"
_REMEDY = (
    "`errandry acl` prints a user for each kind of process, with no more rights than it needs; "
    "give each process its own in ERRANDRY_REDIS_URL"
)


def user_findings(connection: redis.Redis) -> Iterator[Finding]:
    """Whether workers of different kinds or pools share a user, and whether we are `default` ourselves."""
    users: dict[str, set[str]] = {}
    for client in cast(list[Mapping[str, str]], connection.client_list()):
        kind = _kind_of(client.get("name", ""))
        if kind:
            users.setdefault(client.get("user", "default"), set()).add(kind)
    shared = {user: kinds for user, kinds in users.items() if len(kinds) > 1}
    if shared:
        details = [f"{', '.join(sorted(kinds))}: user {user}" for user, kinds in sorted(shared.items())]
        yield warning(
            "redis.users",
            "workers share a Redis user: whoever breaks into a tool worker may do to Redis whatever the others may",
            _REMEDY,
            details,
        )
    elif str(connection.acl_whoami()) == "default":
        yield warning(
            "redis.users", "this project connects as the user default, as anything else may that can", _REMEDY
        )
    else:
        yield ok("redis.users", f"each kind of worker is a Redis user of its own ({len(users)} connected)")


def _kind_of(client_name: str) -> str:
    if client_name == AGENT_WORKER:
        return "agent workers"
    if client_name.startswith(TOOL_WORKER):
        return f"tool workers of pool {client_name.removeprefix(TOOL_WORKER)}"
    return ""
