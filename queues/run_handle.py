"""One run, seen from a producer, by way of either client; does nothing that the client does not do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # their names alone are needed here, and models take long to import
    from agent_core.events import RunEvent
    from agent_core.run import RunOutput, RunStatus
    from agent_core.tools.execution import ToolExecution

Until = Literal["finished", "paused"]


class _Producer(Protocol):
    """What a handle asks of its client."""

    def output(self, run_id: str) -> RunOutput: ...
    def status(self, run_id: str) -> RunStatus: ...
    def pending(self, run_id: str) -> list[ToolExecution]: ...
    def retry(self, run_id: str) -> RunHandle: ...
    def cancel(self, run_id: str, reason: str = "") -> bool: ...
    def wait(self, run_id: str, *, timeout: float | None = None, until: Until = "finished") -> RunOutput: ...
    def events(self, run_id: str, *, after: str | None = None, timeout: float | None = None) -> Iterator[RunEvent]: ...


class _AsyncProducer(Protocol):
    """What a handle asks of its client."""

    async def output(self, run_id: str) -> RunOutput: ...
    async def status(self, run_id: str) -> RunStatus: ...
    async def pending(self, run_id: str) -> list[ToolExecution]: ...
    async def retry(self, run_id: str) -> AsyncRunHandle: ...
    async def cancel(self, run_id: str, reason: str = "") -> bool: ...
    async def wait(
        self,
        run_id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the sync client
        until: Until = "finished",
    ) -> RunOutput: ...
    def events(
        self, run_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None]: ...


class RunHandle:
    """One run, seen from a producer; each method is that of `Client`, for this run."""

    def __init__(self, client: _Producer, run_id: str, *, is_repeat: bool = False) -> None:
        """`is_repeat` says of a submit that the run was there already, under its idempotency key."""
        self._client = client
        self.run_id = run_id
        self.is_repeat = is_repeat

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def status(self) -> RunStatus:
        """Where the run stands now."""
        return self._client.status(self.run_id)

    def output(self) -> RunOutput:
        """The run as far as it has come."""
        return self._client.output(self.run_id)

    def pending(self) -> list[ToolExecution]:
        """As `Client.pending`."""
        return self._client.pending(self.run_id)

    def retry(self) -> RunHandle:
        """As `Client.retry`."""
        return self._client.retry(self.run_id)

    def cancel(self, reason: str = "") -> bool:
        """As `Client.cancel`."""
        return self._client.cancel(self.run_id, reason)

    def wait(self, timeout: float | None = None, *, until: Until = "finished") -> RunOutput:
        """As `Client.wait`."""
        return self._client.wait(self.run_id, timeout=timeout, until=until)

    def events(self, after: str | None = None, *, timeout: float | None = None) -> Iterator[RunEvent]:
        """As `Client.events`."""
        return self._client.events(self.run_id, after=after, timeout=timeout)


class AsyncRunHandle:
    """One run, seen from a producer; each method is that of `AsyncClient`, for this run."""

    def __init__(self, client: _AsyncProducer, run_id: str, *, is_repeat: bool = False) -> None:
        """`is_repeat` says of a submit that the run was there already, under its idempotency key."""
        self._client = client
        self.run_id = run_id
        self.is_repeat = is_repeat

    def __repr__(self) -> str:
        return f"AsyncRunHandle({self.run_id!r})"

    async def status(self) -> RunStatus:
        """Where the run stands now."""
        return await self._client.status(self.run_id)

    async def output(self) -> RunOutput:
        """The run as far as it has come."""
        return await self._client.output(self.run_id)

    async def pending(self) -> list[ToolExecution]:
        """As `AsyncClient.pending`."""
        return await self._client.pending(self.run_id)

    async def retry(self) -> AsyncRunHandle:
        """As `AsyncClient.retry`."""
        return await self._client.retry(self.run_id)

    async def cancel(self, reason: str = "") -> bool:
        """As `AsyncClient.cancel`."""
        return await self._client.cancel(self.run_id, reason)

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the sync client
        *,
        until: Until = "finished",
    ) -> RunOutput:
        """As `AsyncClient.wait`."""
        return await self._client.wait(self.run_id, timeout=timeout, until=until)

    def events(self, after: str | None = None, *, timeout: float | None = None) -> AsyncGenerator[RunEvent, None]:
        """As `AsyncClient.events`."""
        return self._client.events(self.run_id, after=after, timeout=timeout)
