"""Has a gateway trace, if the environment asks for it: the calls that executors fetch, and runs that are ended here."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workers.exporters.tracing import Traces, open_traces


@asynccontextmanager
async def traced() -> AsyncIterator[Traces]:
    """The traces of this process, as long as the block lasts; what is left is sent within seconds."""
    traces = open_traces("errandry-gateway", instance=f"gateway@{socket.gethostname()}:{os.getpid()}")
    try:
        yield traces
    finally:
        await asyncio.to_thread(traces.close)
