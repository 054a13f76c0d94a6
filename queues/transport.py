"""Kombu's Redis transport, without its notes of held messages, mended where a lost broker would end a busy worker."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import Empty
from types import MappingProxyType
from typing import Any

import redis
from celery import Celery
from kombu.connection import Connection as KombuConnection
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport
from kombu.transport.virtual import Message, QoS
from kombu.utils.json import dumps
from kombu.utils.url import maybe_sanitize_url
from redis.sentinel import SentinelConnectionPool

from queues.connections import takes_no_writes
from queues.refusals import set_aside
from queues.screening import RefusedMessageError, is_event, is_well_formed, screened, well_formed
from queues.sentinels import PrimaryConnection, PrimaryTLSConnection, Sentinels
from queues.topology import place_of

_log = logging.getLogger(__name__)


class BrokerClient(redis.StrictRedis):
    """Takes a server that refuses all writes for a while as one that is away.

    To take a message out is a write. Celery knows no such error of its broker, and the worker would end; a lost
    connection is tried again until it is back.
    """

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        try:
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            if takes_no_writes(error):
                raise redis.ConnectionError(f"the broker takes no writes just now ({error})") from error
            raise


class Channel(RedisChannel):
    """A channel that keeps what it took in memory alone, and can be closed although its connection was given up before.

    Kombu's own also notes each message in Redis, by one transaction when it is taken and one when it is done with, and
    gives back after an hour what dead workers noted. Ours needs no note: the claim decides who acts on a message, and
    the sweep publishes anew within seconds what nobody acts on.
    """

    QoS = QoS  # type: ignore[assignment]
    # When the broker last answered what was asked of the queues; for probes, which see a deaf consumer by it.
    asked_at = 0.0
    # How many heard what was last told to whoever listens.
    heard_by: int | None = None

    def _get_client(self) -> type[redis.Redis]:
        return BrokerClient

    def _connparams(self, asynchronous: bool = False) -> dict[str, object]:
        # After a loss Celery first collects the connection, which takes its address away, and then closes it. Kombu
        # forgives a lost connection there, but nothing else, and the worker ends.
        if self.connection.client is None:
            raise redis.ConnectionError("the connection was given up already")
        parameters: dict[str, object] = super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]
        return parameters

    def _brpop_read(self, **options: object) -> bool:
        # Kombu's own would hand whatever lies in a queue to `json.loads` and then to Celery; what they cannot read ends
        # the worker, or stands in its log. So each message of our queues is screened here, while it is still bytes.
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            self.asked_at = time.monotonic()
            if not reply:
                raise Empty
            queue, raw = reply[0].decode(), reply[1]
            self._queue_cycle.rotate(queue)
            if not self._consumers:
                self._put_back(queue, raw)
                return True
            message = self._screened(queue, raw)
            if message is not None:
                self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None  # type: ignore[assignment]
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]

    def basic_cancel(self, consumer_tag: str) -> None:
        was_ours = place_of(self._tag_to_queue.get(consumer_tag, "")) is not None
        super().basic_cancel(consumer_tag)  # type: ignore[no-untyped-call]
        if was_ours and self._in_poll and not self._consumers:
            # The broker may still answer with a message: it goes back now, and not when the last task has ended. One
            # that answers nothing any more is waited for until the socket's time-out.
            with suppress(Empty):
                self._brpop_read()

    def close(self) -> None:
        # Whoever stops cancels first, so a channel with consumers has lost its broker. Then nothing is given back: what
        # was taken is with this worker's threads, which execute it all the same.
        self.do_restore = not self._consumers
        super().close()  # type: ignore[no-untyped-call]

    def _restore(self, message: Message, leftmost: bool = False) -> None:
        """Give a message back as it came, to be the next that is taken. What Redis is not told of is the sweep's."""
        self._put_back(str(message.delivery_info.get("routing_key")), dumps(message.serializable()))  # type: ignore[no-untyped-call]

    def _put_back(self, queue: str, raw: str | bytes) -> None:
        if place_of(queue) is None:
            return  # an answer that comes too late, whatever it says; nobody takes anything from that inbox any more
        try:
            with self.conn_or_acquire() as client:
                client.rpush(queue, raw)
        except redis.RedisError as error:
            _log.warning("a message could not be given back to %s: %s", queue, type(error).__name__)

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **_: object) -> None:
        topic: str = self._get_publish_topic(exchange, routing_key)  # type: ignore[no-untyped-call]
        with self.conn_or_acquire() as client:
            self.heard_by = client.publish(topic, dumps(message))  # type: ignore[no-untyped-call]

    def _receive_one(self, c: object) -> object:
        try:
            return super()._receive_one(c)  # type: ignore[no-untyped-call]
        except RecursionError:
            # JSON that is nested too deeply; Kombu forgives other JSON that it cannot read.
            raise Empty from None

    def _screened(self, queue: str, raw: bytes) -> dict[str, Any] | None:
        place = place_of(queue)
        try:
            return screened(raw, place) if place is not None else well_formed(raw)
        except RefusedMessageError as error:
            if place is not None:
                with self.conn_or_acquire() as client:
                    set_aside(client, raw, place, reason=str(error))
            return None


class SentinelChannel(Channel):
    """A channel to whichever server is the primary when each of its connections is made."""

    from_transport_options = (*Channel.from_transport_options, "master_name", "sentinels", "sentinel_kwargs")  # type: ignore[assignment]
    connection_class = PrimaryConnection  # type: ignore[assignment]
    connection_class_ssl = PrimaryTLSConnection  # type: ignore[assignment]
    master_name = ""
    sentinels: Sequence[tuple[str, int]] = ()
    sentinel_kwargs: Mapping[str, str] = MappingProxyType({})

    def _get_pool(self, asynchronous: bool = False) -> redis.ConnectionPool:
        # Kombu's own would ask the Sentinels through redis-py's `Sentinel`; see `sentinels` for why ours does not.
        parameters = self._connparams(asynchronous=asynchronous)
        for name in ("host", "port"):
            del parameters[name]
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=parameters["db"])
        sentinels = Sentinels(
            [(host, port) for host, port in self.sentinels],
            login=self.sentinel_kwargs,
            tls=self.connection.client.ssl or {},
        )
        return SentinelConnectionPool(self.master_name, sentinels, **parameters)  # type: ignore[no-untyped-call]


class Connection(KombuConnection):
    """A connection that is back soon after the broker is, however long that was away, and tells no secret of it."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> KombuConnection:
        # Kombu waits two seconds longer each time, up to thirty; and all workers that lost the broker at one moment
        # would come back at one moment.
        pace = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
        return super().ensure_connection(  # type: ignore[no-untyped-call, no-any-return]
            *args, interval_start=pace, interval_step=pace, interval_max=3 * pace, **kwargs
        )

    def info(self) -> dict[str, Any]:
        """What a worker says of its broker, once Celery has taken `password` out.

        Flower's page shows it, and Celery knows of no other secret: that of the Sentinels, of the key of a certificate,
        and of a socket, whose whole URL stands where others have their host.
        """
        told: dict[str, Any] = super().info()  # type: ignore[no-untyped-call]
        options = {name: value for name, value in told["transport_options"].items() if name != "sentinel_kwargs"}
        hostname = maybe_sanitize_url(told["hostname"])
        return {**told, "hostname": hostname, "ssl": bool(told["ssl"]), "transport_options": options}


class Transport(RedisTransport):
    """The transport for `redis://` and `rediss://`."""

    Channel = Channel

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        # What comes by publish and subscribe is read by Kombu itself; it may be anything, too.
        if is_well_formed(message) and (not queue.startswith("celeryev.") or is_event(message)):
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]


class SentinelTransport(Transport):
    """The transport for `sentinel://`, as `broker_address` writes it."""

    Channel = SentinelChannel
    default_port = 26379  # type: ignore[assignment]


def use(app: Celery) -> None:
    """Have the app, and all connections of this process, use these; the URLs stay as they are."""
    app.amqp.Connection = Connection
    for scheme, transport in (("redis", "Transport"), ("rediss", "Transport"), ("sentinel", "SentinelTransport")):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport}"
