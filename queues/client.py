"""What producers import: the clients and the handles of their runs. Loads neither a model, nor user code, nor Redis."""

from typing import TYPE_CHECKING

from queues.errors import WaitTimeoutError
from queues.run_handle import AsyncRunHandle, RunHandle
from queues.sync_client import Client

if TYPE_CHECKING:
    from queues.async_client import AsyncClient

__all__ = ["AsyncClient", "AsyncRunHandle", "Client", "RunHandle", "WaitTimeoutError"]


def __getattr__(name: str) -> object:
    """Load the async client for those who ask for it: redis and asyncio take longer to import than all the rest."""
    if name == "AsyncClient":
        from queues.async_client import AsyncClient  # noqa: PLC0415

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
