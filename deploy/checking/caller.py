"""Somebody who uses the stack of the check over its gateway, with an API key; judges little."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from deploy.checking.stack import Stack
from deploy.checking.transcript import CheckFailedError, found

_KEY_ROLES = ("submit", "read", "operate", "answer")


class Caller:
    """Somebody with an API key who asks the gateway."""

    def __init__(self, stack: Stack, name: str) -> None:
        roles = [word for role in _KEY_ROLES for word in ("--role", role)]
        key = json.loads(stack.inside("gateway", "errandry", "key", "create", name, *roles, "--json"))["key"]
        self._url = f"http://127.0.0.1:{stack.gateway_port}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The JSON that a route answers; CheckFailedError with what it says of an error."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._url}{path}", data=data, headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise CheckFailedError(f"{path}: {error.code}, {error.read()[:500]!r}") from error

    def submit(self, text: str) -> str:
        """The id of a new run."""
        return str(self.ask("/v1/runs", {"agent": "office", "input": text})["run_id"])

    def wait(self, run_id: str, *, until: str = "finished") -> dict[str, Any]:
        """The run once it has ended, or paused."""
        return self.ask(f"/v1/runs/{run_id}/wait?timeout=60&until={until}")

    def paused(self) -> str:
        """A run that waits for a person."""
        run_id = self.submit("Tell everybody that lunch is ready")
        found("a run pauses for a person", self.wait(run_id, until="paused")["status"] == "PAUSED")
        return run_id

    def go_on(self, run_id: str) -> None:
        """Approve what the run waits for, and see it end."""
        call = self.ask(f"/v1/runs/{run_id}")["waits_for"][0]["tool_call_id"]
        self.ask(f"/v1/runs/{run_id}/calls/{call}/confirm", {"approved": True})
        ended = self.wait(run_id)
        found("approved, it goes on and ends", ended["status"] == "COMPLETED", ended["content"])
