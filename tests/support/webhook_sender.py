"""A process that delivers webhooks as a gateway does, for tests that kill it: URL of the store, length of the lease."""

from __future__ import annotations

import asyncio
import sys

from queues.settings_gateway import GatewaySettings
from workers.gateway.webhooks.service import delivering


async def deliver_until_killed(url: str, lease_seconds: float) -> None:
    settings = GatewaySettings(webhook_secret="env:WEBHOOK_SECRET", webhook_allow_private=True)
    async with delivering(url, settings, lease_seconds=lease_seconds):
        print("delivering", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(deliver_until_killed(sys.argv[1], float(sys.argv[2])))
