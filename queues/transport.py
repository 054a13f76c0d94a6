"""Kombu's Redis transport, mended where a lost broker would end a busy worker; changes nothing on the wire."""

from __future__ import annotations

import redis
from kombu.message import Message
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.redis import Transport as RedisTransport


class QoS(RedisQoS):
    """Takes a message on although Redis does not take down that it is on its way."""

    def append(self, message: Message, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            # Out of memory, say. Celery knows no such error of its broker, and the worker would end. That note is of
            # no use to us: no decision rests on it.
            super(RedisQoS, self).append(message, delivery_tag)  # type: ignore[no-untyped-call]


class Channel(RedisChannel):
    """A channel that can be closed although its connection was given up before it."""

    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> dict[str, object]:
        # After a loss Celery first collects the connection, which takes its address away, and then closes it, which
        # gives unacknowledged messages back over it. Kombu forgives a lost connection there, but nothing else, and the
        # worker ends. The messages are not missed: the sweep publishes anew what nobody has acted on.
        if self.connection.client is None:
            raise redis.ConnectionError("the connection was given up already")
        parameters: dict[str, object] = super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]
        return parameters


class Transport(RedisTransport):
    """The transport for `redis://` and `rediss://`."""

    Channel = Channel


def use() -> None:
    """Have all connections of this process use this transport; the URLs stay as they are."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
