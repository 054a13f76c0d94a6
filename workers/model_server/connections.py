"""An HTTP connection that can be closed on purpose, before or in the middle of an answer.

Never closes one by itself; the faults that need it ask for it.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class DroppableConnection(H11Protocol):
    """Uvicorn's connection, which the application finds as `request.state.connection`."""

    lost: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.lost = asyncio.Event()
        # Uvicorn hands a copy of this mapping to every request of the connection.
        self.app_state = {**self.app_state, "connection": self}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()

    async def drop(self) -> None:
        """Close the connection after what was already sent; what the application sends afterwards goes nowhere."""
        self.transport.close()
        await self.lost.wait()
