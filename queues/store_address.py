"""The address of the store, as `redis_url` spells it: taken apart once, for redis-py and for Kombu alike.

It connects to nothing. It holds passwords; what a text may say of it is `shown`. A sentence that refuses a URL goes on
where the setting's name ends, and repeats no part of it: a mistyped URL may show its password anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeAlias
from urllib.parse import parse_qsl, unquote

Place: TypeAlias = tuple[str, int]
Value: TypeAlias = str | int | float | bool

_PLAIN, _SENTINEL = ("redis", "rediss"), ("redis+sentinel", "rediss+sentinel")
_PORTS = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379}
_FORM = "redis://user:password@host:6379/0"
_SENTINEL_FORM = "redis+sentinel://user:password@h1:26379,h2:26379,h3:26379/mymaster/0"
_WAY_OUT = f"name one Redis or Valkey, as in {_FORM}, or one behind Sentinel, as in {_SENTINEL_FORM}"

_CLUSTERS = ("redis-cluster", "rediss-cluster", "redis+cluster", "rediss+cluster", "valkey-cluster", "cluster")
_OTHER_SENTINELS = ("sentinel", "redis-sentinel", "rediss-sentinel", "sentinels", "valkey+sentinel")
# By the first word of their scheme, as Kombu spells them.
_BROKERS = (
    *("amqp", "amqps", "pyamqp", "librabbitmq", "rabbitmq", "sqs", "kafka", "confluentkafka", "gcpubsub", "nats"),
    *("azureservicebus", "azurestoragequeues", "mongodb", "sqla", "etcd", "consul", "zookeeper", "pulsar", "memory"),
)

# One that begins with [ is an IPv6 address.
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:,@\s]+)(?::([0-9]{1,5}))?")


def _yes_or_no(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return words[text.lower()]


def _demand(text: str) -> str:
    word = text.lower().removeprefix("cert_")
    if word not in ("none", "optional", "required"):
        raise ValueError
    return word


def _seconds(text: str, above: float = 0.0) -> float:
    if not above < (seconds := float(text)) < float("inf"):
        raise ValueError
    return seconds


def _longer_than_waits(text: str) -> float:
    # Whoever waits in Redis, for events or for a replica's word, may do so for 5 s, and would take that for a loss.
    return _seconds(text, above=5)


def _interval(text: str) -> int:
    # With 0 a worker's event loop would do nothing but look after its connections.
    if (seconds := int(text)) < 1:
        raise ValueError
    return seconds


# How each is read, and what is to be written for it.
_OPTIONS: dict[str, tuple[Callable[[str], Value], str]] = {
    "socket_timeout": (_longer_than_waits, "more than 5 seconds"),
    "socket_connect_timeout": (_seconds, "seconds, more than 0"),
    "health_check_interval": (_interval, "whole seconds, 1 or more"),
}
_TLS: dict[str, tuple[Callable[[str], Value], str]] = {
    "ssl_cert_reqs": (_demand, "required, optional or none"),
    "ssl_ca_certs": (str, "a file"),
    "ssl_ca_path": (str, "a folder"),
    "ssl_certfile": (str, "a file"),
    "ssl_keyfile": (str, "a file"),
    "ssl_password": (str, "the key's password"),
    "ssl_check_hostname": (_yes_or_no, "true or false"),
}
_SENTINELS_OWN = ("sentinel_username", "sentinel_password")
_KNOWN: dict[str, tuple[Callable[[str], Value], str]] = {
    **_OPTIONS,
    **_TLS,
    "db": (int, "the number of a database"),
    "sentinel_username": (str, "a name"),
    "sentinel_password": (str, "a password"),
}


@dataclass(frozen=True)
class StoreAddress:
    """Where the store is, as whom to connect, and how.

    `places` are the server's, or with a `service` those of the Sentinels that know where it is; with a `path` there are
    none. `tls` is empty without TLS, and says at least how certificates are judged with it.
    """

    places: tuple[Place, ...]
    path: str | None
    service: str | None
    database: int
    username: str | None
    password: str | None = field(repr=False)
    options: Mapping[str, Value]
    tls: Mapping[str, Value] = field(repr=False)
    sentinel_login: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart; ValueError, with a sentence, if it is none that the product can work with."""
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in (*_PLAIN, *_SENTINEL, "unix"):
            raise ValueError(_refusal(scheme.lower() if separator else ""))
        rest, _, query = rest.partition("#")[0].partition("?")
        authority, slash, path = rest.partition("/")
        login, _, hosts = authority.rpartition("@")
        if scheme == "unix" and not path:
            raise ValueError(f"is incomplete; write unix:///path/to/socket, or {_FORM}")
        username, colon, password = login.partition(":")
        given = _given(query, scheme)
        service = None
        if scheme in _SENTINEL:
            service, _, path = path.partition("/")
            if not service:
                raise ValueError(f"lacks the name by which Sentinel knows the server; write {_SENTINEL_FORM}")
        return cls(
            places=_places(hosts, scheme),
            path=unquote(slash + path) if scheme == "unix" else None,
            service=unquote(service) if service else None,
            database=_database("" if scheme == "unix" else path, given),
            username=unquote(username) or None,
            password=unquote(password) if colon and password else None,
            options={name: given[name] for name in _OPTIONS if name in given},
            tls=_tls(given) if scheme.startswith("rediss") else {},
            sentinel_login={name.partition("_")[2]: str(given[name]) for name in _SENTINELS_OWN if name in given},
        )

    @property
    def shown(self) -> str:
        """The address without user, password and options."""
        places = ",".join(map(shown, self.places))
        return "/".join(part for part in (self.path or places, self.service, str(self.database)) if part)


def shown(place: Place) -> str:
    """A host with its port, as a URL writes it."""
    host, port = place
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _refusal(scheme: str) -> str:
    if scheme in _CLUSTERS:
        return (
            "names a Redis Cluster, which cannot keep runs: a run's state, the indexes and the queues change in one "
            f"step, and a cluster tears them apart; {_WAY_OUT}. Several of them share the work by project"
        )
    if scheme in _OTHER_SENTINELS:
        return f"spells Sentinel in another way; write {_SENTINEL_FORM}"
    if scheme.partition("+")[0] in _BROKERS:
        return (
            f"names another message broker ({scheme.partition('+')[0]}), but the store is the broker: a run's state "
            f"changes and its message is pushed in one step, on one server; {_WAY_OUT}"
        )
    if scheme in ("valkey", "valkeys"):
        return "must spell a Valkey as a Redis: write redis:// or, with TLS, rediss://"
    return f"must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://, as in {_FORM}"


def _places(hosts: str, scheme: str) -> tuple[Place, ...]:
    if scheme == "unix" and not hosts:
        return ()
    found = [_PLACE.fullmatch(host) for host in hosts.split(",")]
    places = tuple(
        (unquote(one[1].strip("[]")), int(one[2] or _PORTS.get(scheme, 0))) for one in found if one is not None
    )
    form = _SENTINEL_FORM if scheme in _SENTINEL else _FORM
    if scheme == "unix" or len(places) < len(found):
        raise ValueError(f"is incomplete; write {form}")
    if not all(0 < port < 65536 for _, port in places):
        raise ValueError(f"names a port that is none, they go from 1 to 65535; write {form}")
    if len(places) > 1 and scheme in _PLAIN:
        raise ValueError(f"names several servers; {_WAY_OUT}")
    return places


def _database(path: str, given: Mapping[str, Value]) -> int:
    text = str(given.get("db", path.strip("/") or 0))
    if not text.isdecimal():
        raise ValueError(f"ends in something that is no number of a database; write {_FORM}")
    return int(text)


def _tls(given: Mapping[str, Value]) -> dict[str, Value]:
    """Never without `ssl_cert_reqs`: Kombu takes its absence for leave to judge no certificate."""
    return {"ssl_cert_reqs": "required"} | {name: given[name] for name in _TLS if name in given}


def _given(query: str, scheme: str) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _KNOWN:
            raise ValueError(f"has an option that is not known; behind the ? stand {', '.join(_KNOWN)}")
        if name in _TLS and not scheme.startswith("rediss"):
            raise ValueError(f"has {name}, which is for TLS; write rediss:// or rediss+sentinel://")
        if name in _SENTINELS_OWN and scheme not in _SENTINEL:
            raise ValueError(f"has {name} without Sentinel; write {_SENTINEL_FORM}")
        read, wanted = _KNOWN[name]
        try:
            given[name] = read(text)
        except (ValueError, KeyError):
            raise ValueError(f"has a value for {name} that will not do; write {wanted}") from None
    return given
