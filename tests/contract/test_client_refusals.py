"""What neither client sends: each mistake is named, as a ValueError, before Redis hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queues.errors import WebhookUrlError
from tests.support.either_client import KINDS, EitherClient, either_client

pytestmark = pytest.mark.redis

NAN = float("nan")
MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"agent": None}, "agent is of type NoneType"),
    ({"agent": ""}, "agent is empty"),
    ({"input": 5}, "input is of type int"),
    ({"input": b"hello"}, "input is of type bytes"),
    ({"idempotency_key": ""}, "idempotency_key is empty"),
    ({"idempotency_key": 17}, "idempotency_key is of type int"),
    ({"session_id": 5}, "session_id is of type int"),
    ({"user_id": 5}, "user_id is of type int"),
    ({"deadline_seconds": "60"}, "deadline_seconds is '60'"),
    ({"deadline_seconds": NAN}, "deadline_seconds is nan"),
    ({"deadline_seconds": float("inf")}, "deadline_seconds is inf"),
    ({"metadata": ["a"]}, "metadata is of type list"),
    ({"metadata": {"a": object()}}, "metadata must be an object that JSON can hold"),
    ({"metadata": {"a": NAN}}, "metadata must be an object that JSON can hold"),
    ({"metadata": {"a": "\ud800"}}, "metadata must be an object that JSON can hold"),
    ({"webhook_url": 7}, "webhook_url is of type int"),
]


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[EitherClient]:
    async with either_client(request.param, redis_url) as opened:
        yield opened


@pytest.mark.parametrize(("given", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
async def test_a_submit_of_no_use_is_refused_and_stores_nothing(
    client: EitherClient, given: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        await client.submit(**{"agent": "ops", "input": "hello"} | given)
    assert await client.runs() == []


async def test_a_webhook_that_is_none_keeps_its_own_error(client: EitherClient) -> None:
    with pytest.raises(WebhookUrlError, match="https://"):
        await client.submit("ops", "hello", webhook_url="ftp://example.com")


async def test_what_is_waited_for_is_one_of_two(client: EitherClient) -> None:
    run = await client.submit("ops", "hello")
    with pytest.raises(ValueError, match="until is 'later'; choose one of finished, paused"):
        await client.wait(run.run_id, timeout=0, until="later")
