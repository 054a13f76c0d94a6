"""Whoever is cancelled while Redis is asked hears of it, at whatever moment that comes."""

from __future__ import annotations

import asyncio

import pytest

from queues.connections import aconnect

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("turns", range(16))
async def test_a_cancellation_is_heard_in_each_turn_of_the_loop(turns: int, redis_url: str) -> None:
    async with aconnect(redis_url) as connection:
        await connection.ping()
        waiting = asyncio.ensure_future(connection.blpop(["nothing"], timeout=9))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=30)  # longer than it would wait for an answer if it had not heard
        assert waiting.cancelled()
        assert await connection.ping()


async def test_whoever_was_cancelled_before_may_still_ask(redis_url: str) -> None:
    async def cleans_up() -> bool:
        async with aconnect(redis_url) as connection:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return bool(await connection.ping())
            return False

    cleaning = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    cleaning.cancel()
    assert await cleaning
