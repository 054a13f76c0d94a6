"""The address of the store as Celery and Kombu want it: a URL, options of TLS, options of the transport.

Where Sentinel leads to the store, the URL names one Sentinel, for Celery's log; the transport asks all of them.
Passwords stand where Celery hides them when somebody asks a worker for its settings.
"""

from __future__ import annotations

from urllib.parse import quote

from queues.store_address import StoreAddress, shown

# Each connection to a primary that fell silent has to be missed by itself, one after the other, and by then there is
# another primary.
_SOON_MISSED = {"socket_timeout": 5, "health_check_interval": 5}


def broker_url(address: StoreAddress) -> str:
    """What Celery's `broker_url` is to be; options of the query are not in it."""
    login = ""
    if address.username or address.password:
        login = f"{quote(address.username or '', safe='')}:{quote(address.password or '', safe='')}@"
    if address.path is not None:
        # Kombu's spelling of a unix socket, and of a database behind one, differs from redis-py's.
        return f"redis+socket://{login}{quote(address.path)}?virtual_host={address.database}"
    scheme = "sentinel" if address.service is not None else "rediss" if address.tls else "redis"
    return f"{scheme}://{login}{shown(address.places[0])}/{address.database}"


def broker_use_ssl(address: StoreAddress) -> dict[str, object] | bool:
    """What Celery's `broker_use_ssl` is to be. Kombu, left to itself, would judge no certificate."""
    return dict(address.tls) or False


def transport_options(address: StoreAddress) -> dict[str, object]:
    """What the address adds to Celery's `broker_transport_options`."""
    if address.service is None:
        return dict(address.options)
    return {
        **_SOON_MISSED,
        **address.options,
        "master_name": address.service,
        "sentinels": [list(place) for place in address.places],
        "sentinel_kwargs": dict(address.sentinel_login),
    }
