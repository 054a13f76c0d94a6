"""The address of the store: taken apart for redis-py and for Kombu, or refused in a sentence with the way out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.app.utils import Settings as CelerySettings
from celery.worker.consumer.connection import Connection as ConnectionStep

from queues.broker_address import broker_url, broker_use_ssl, transport_options
from queues.celery_app import agent_app, watching_app
from queues.client import Client
from queues.connections import aconnect, address_of, connect
from queues.errors import SettingsError
from queues.passwords import as_user, names_user
from queues.redis_url import project_roles
from queues.settings import load_settings
from queues.store_address import StoreAddress

SENTINEL = "redis+sentinel://al%40ice:hu%2Fsh@h1:26379,h2,[::1]:26380/my.master/3"


def test_one_server() -> None:
    address = StoreAddress.of("redis://alice:hu%2Fsh@cache.example:6390/2?socket_timeout=6.5&health_check_interval=5")
    assert (address.places, address.service, address.database) == ((("cache.example", 6390),), None, 2)
    assert (address.username, address.password) == ("alice", "hu/sh")
    assert (address.options, address.tls) == ({"socket_timeout": 6.5, "health_check_interval": 5}, {})
    assert address.shown == "cache.example:6390/2"
    plain = StoreAddress.of("redis://localhost")
    assert (plain.places, plain.username, plain.password) == ((("localhost", 6379),), None, None)
    assert StoreAddress.of("redis://[::1]:1/?db=4").database == 4


def test_a_socket() -> None:
    address = StoreAddress.of("unix://:hush@/run/a%20socket?db=1")
    assert (address.places, address.path, address.password, address.database) == ((), "/run/a socket", "hush", 1)
    assert address.shown == "/run/a socket/1"
    assert broker_url(address) == "redis+socket://:hush@/run/a%20socket?virtual_host=1"


def test_several_sentinels() -> None:
    address = StoreAddress.of(f"{SENTINEL}?sentinel_username=w&sentinel_password=p%26w")
    assert address.places == (("h1", 26379), ("h2", 26379), ("::1", 26380))
    assert (address.service, address.database) == ("my.master", 3)
    assert (address.username, address.password) == ("al@ice", "hu/sh")
    assert address.sentinel_login == {"username": "w", "password": "p&w"}
    assert address.shown == "h1:26379,h2:26379,[::1]:26380/my.master/3"
    assert StoreAddress.of("redis+sentinel://h1/mymaster").database == 0


def test_tls_judges_certificates_unless_told_otherwise() -> None:
    assert StoreAddress.of("rediss://h/0").tls == {"ssl_cert_reqs": "required"}
    address = StoreAddress.of(
        "rediss+sentinel://h/m/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false"
    )
    assert address.tls == {
        "ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem", "ssl_certfile": "/c", "ssl_keyfile": "/k",
        "ssl_check_hostname": False,
    }  # fmt: skip
    assert StoreAddress.of("rediss://h/0?ssl_cert_reqs=CERT_NONE").tls == {"ssl_cert_reqs": "none"}


def test_what_says_it_shows_no_password() -> None:
    address = StoreAddress.of(f"{SENTINEL}?sentinel_password=hush")
    assert "hu" not in address.shown and "hu" not in repr(address)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("amqp://guest:hush@rabbit//", "names another message broker (amqp), but the store is the broker"),
        ("pyamqp://hush@rabbit//", "names another message broker (pyamqp)"),
        ("sqs://key:hush@", "names another message broker (sqs)"),
        ("sqla+postgresql://me:hush@db/x", "names another message broker (sqla)"),
        ("redis-cluster://:hush@h1:7000,h2:7000/0", "names a Redis Cluster, which cannot keep runs"),
        ("rediss+cluster://:hush@h1:7000", "names a Redis Cluster"),
        ("sentinel://:hush@h1:26379/0;sentinel://h2:26379/0", "spells Sentinel in another way; write redis+sentinel://"),
        ("valkey://:hush@host:6379/0", "write redis://"),
        ("http://hush@host", "must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://"),
        ("hush", "must begin with redis://"),
        ("redis://:hush@", "is incomplete; write redis://"),
        ("redis://:hush@h1:1,h2:2/0", "names several servers"),
        ("redis://:hush@host/first", "is no number of a database"),
        ("redis://host/0?ssl_ca_certs=/hush", "has ssl_ca_certs, which is for TLS; write rediss://"),
        ("redis://host/0?hush=1", "has an option that is not known"),
        ("redis://host/0?socket_timeout=hush", "has a value for socket_timeout that will not do; write more than 5"),
        ("redis://:hush@host/0?socket_timeout=5", "for socket_timeout that will not do; write more than 5 seconds"),
        ("redis://:hush@host/0?health_check_interval=0", "for health_check_interval that will not do; write whole"),
        ("rediss://host/0?ssl_cert_reqs=hush", "has a value for ssl_cert_reqs"),
        ("redis://host/0?sentinel_password=hush", "has sentinel_password without Sentinel"),
        ("redis+sentinel://:hush@h1:26379,h2:26379", "lacks the name by which Sentinel knows the server"),
        ("redis+sentinel://:hush@h1:26379,/mymaster/0", "is incomplete; write redis+sentinel://"),
        ("redis+sentinel://:hush@h1:99999/mymaster/0", "names a port that is none"),
        ("redis://h1:0/0", "names a port that is none"),
        ("unix://hush/socket", "is incomplete"),
        ("unix://", "is incomplete"),
    ],
)  # fmt: skip
def test_any_other_is_refused_with_the_way_out(url: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, redis_url=url)
    assert sentence in str(caught.value) and "redis_url" in str(caught.value)
    assert "redis" in str(caught.value) and "hush" not in str(caught.value)
    with pytest.raises(SettingsError, match="redis_url") as caught:
        Client(url)
    assert sentence in str(caught.value) and "hush" not in str(caught.value)


def test_a_role_takes_its_place_in_any_address() -> None:
    for url in ("redis://h:1/0", SENTINEL, "redis+sentinel://h1,[::1]:2/m/0?sentinel_password=p@q", "redis://h?db=1"):
        named = StoreAddress.of(as_user(url, "errandry-agents", "p:w/@"))
        assert (named.username, named.password) == ("errandry-agents", "p:w/@")
        unnamed = StoreAddress.of(url)
        for field in ("places", "service", "database", "sentinel_login"):
            assert getattr(named, field) == getattr(unnamed, field)
    assert names_user(SENTINEL) and not names_user("redis+sentinel://h1,h2/m/0?sentinel_password=p")


def test_the_users_rules_hold_for_the_addresss_database(tmp_path: Path) -> None:
    for url in (SENTINEL, "redis://h?db=3", "unix:///s?db=3"):
        assert all("+select|3" in role.rules for role in project_roles(load_settings(tmp_path, redis_url=url)))


async def test_both_clients_say_where_they_ask() -> None:
    with connect(f"{SENTINEL}?sentinel_password=hush") as connection:
        assert address_of(connection) == "h1:26379,h2:26379,[::1]:26380/my.master/3"
    client = aconnect(f"{SENTINEL}?sentinel_password=hush")
    assert client.connection_pool.connection_kwargs["db"] == 3
    await client.aclose()


def test_the_broker_is_told_the_same(tmp_path: Path) -> None:
    address = StoreAddress.of(f"redis{SENTINEL[5:]}?sentinel_password=hush&socket_timeout=8")
    assert broker_url(address) == "sentinel://al%40ice:hu%2Fsh@h1:26379/3"
    assert transport_options(address) == {
        "socket_timeout": 8.0, "health_check_interval": 5, "master_name": "my.master",
        "sentinel_kwargs": {"password": "hush"}, "sentinels": [["h1", 26379], ["h2", 26379], ["::1", 26380]],
    }  # fmt: skip
    secure = StoreAddress.of("rediss://:pw@h:1/2?ssl_ca_certs=/ca.pem")
    assert broker_url(secure) == "rediss://:pw@h:1/2"
    assert broker_use_ssl(secure) == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert broker_use_ssl(address) is False
    settings = load_settings(tmp_path, redis_url="redis://:pw@h:1/2?socket_timeout=8")
    assert agent_app(settings).conf.broker_transport_options["socket_timeout"] == 8.0


def test_whoever_asks_a_worker_for_its_settings_is_shown_no_password(tmp_path: Path) -> None:
    url = "rediss+sentinel://u:hush-1@h1:26379,h2:26379/m/0?sentinel_password=hush-2&ssl_password=hush-3"
    app: Celery = watching_app(load_settings(tmp_path, redis_url=url))
    conf = app.conf
    assert isinstance(conf, CelerySettings)
    assert "hush" in repr(dict(conf.broker_transport_options)) + conf.broker_url
    assert "hush" not in repr(conf.table(with_defaults=False, censored=True))
    with app.connection_for_write() as connection:
        assert "hush" not in connection.as_uri()


@pytest.mark.parametrize(
    "url",
    [
        "rediss+sentinel://u:hush-1@h1:26379,h2:26379/m/0?sentinel_password=hush-2&ssl_password=hush-3",
        "unix://u:hush-1@/run/socket?db=3",
    ],
)
def test_whoever_asks_a_worker_for_its_figures_is_shown_no_password(url: str, tmp_path: Path) -> None:
    """Flower shows them on each worker's page."""
    with agent_app(load_settings(tmp_path, redis_url=url)).connection_for_read() as connection:
        told = ConnectionStep.info(None, SimpleNamespace(connection=connection))
        assert told["broker"]["transport_options"]["socket_timeout"] and "hush" not in repr(told)
        assert "hush-1" in repr(connection.clone()._info())
