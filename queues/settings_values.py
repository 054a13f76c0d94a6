"""The kinds of values that settings are made of: import strings, names, lists, the address of Redis.

It never knows a key; a sentence here goes on where the key's name ends.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from queues.store_address import StoreAddress

_IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_POOL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Value = TypeVar("_Value", str, int)
# One label of a host's name; the same letters that a certificate's name has.
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


class Section(BaseModel):
    """A table of the file; as one environment variable it is a JSON object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        return decoded(value)


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


def _each_once(values: tuple[_Value, ...]) -> tuple[_Value, ...]:
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
    if VARIABLE_NAME.fullmatch(value) is None:
        raise ValueError("is no name of an environment variable; write the name alone, never its value")
    return value


def _own_variable_name(value: str) -> str:
    # The worker's own variables hold the address of Redis, and with it perhaps a password.
    if _variable_name(value).upper().startswith("ERRANDRY_"):
        raise ValueError(f"names {value}, but ERRANDRY_ variables are the product's own; no tool is given one")
    return value


def _domain(value: str) -> str:
    name = value.strip().lower().removesuffix(".")
    try:
        return str(ip_address(name.strip("[]")))
    except ValueError:
        pass
    if _DOMAIN.fullmatch(name) is None or len(name) > 253 or name.rpartition(".")[2].isdecimal():
        raise ValueError(
            f'is "{value}", which is no name of a host; write "example.com" or "*.example.com", without scheme, port '
            "and path, and names beyond ASCII in their xn-- form"
        )
    return name


def _redis_url(url: SecretStr) -> SecretStr:
    StoreAddress.of(url.get_secret_value())
    return url


ImportStrings = Annotated[
    tuple[Annotated[str, AfterValidator(_import_string)], ...],
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
VariableName = Annotated[str, AfterValidator(_own_variable_name)]
VariableNames = Annotated[
    tuple[VariableName, ...],
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
Domains = Annotated[
    tuple[Annotated[str, AfterValidator(_domain)], ...],
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
Ports = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535)], ...],
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
PoolName = Annotated[str, AfterValidator(_pool_name)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
