"""The kinds of values that settings are made of: import strings, names, lists, the address of Redis.

It never knows a key; a sentence here goes on where the key's name ends.
"""

from __future__ import annotations

import json
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

_IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_POOL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEMES = ("redis://", "rediss://", "unix://")


def decoded(value: object) -> object:
    """Text from an environment variable that looks like JSON, decoded; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error}") from error


def _listed(value: object) -> object:
    value = decoded(value)
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f'lists "{twice}" twice; remove one of them')
    return values


def _import_string(value: str) -> str:
    if _IMPORT_STRING.fullmatch(value) is None:
        raise ValueError(f'is "{value}", which is no import string; write "package.module:attribute"')
    return value


def _pool_name(value: str) -> str:
    if _POOL_NAME.fullmatch(value) is None:
        raise ValueError(
            "is no name for a pool; begin with a lower-case letter and use at most 41 of a-z, 0-9, '_' and '-'"
        )
    return value


def _variable_name(value: str) -> str:
    # The value is not repeated: whoever writes NAME=value here has written a secret.
    if _VARIABLE_NAME.fullmatch(value) is None:
        raise ValueError("is no name of an environment variable; write the name alone, never its value")
    return value


def _redis_url(url: SecretStr) -> SecretStr:
    # The sentences repeat no part of the URL: a mistyped one may show its password anywhere.
    text = url.get_secret_value()
    if not text.startswith(_SCHEMES):
        raise ValueError(f"must begin with {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}")
    try:
        parts = urlsplit(text)
        complete = bool(parts.path) if parts.scheme == "unix" else bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("is incomplete; write redis://:password@host:6379/0 or unix:///path/to/socket")
    return url


ImportStrings = Annotated[
    tuple[Annotated[str, AfterValidator(_import_string)], ...],
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
VariableNames = Annotated[tuple[Annotated[str, AfterValidator(_variable_name)], ...], BeforeValidator(_listed)]
Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
PoolName = Annotated[str, AfterValidator(_pool_name)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
