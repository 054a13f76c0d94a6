"""How a pool refers to its secrets and sets its variables: names and places, never a secret's value.

It never looks a secret up, and none of its sentences repeats what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator

from queues.settings_values import VARIABLE_NAME, VariableName, decoded

_SECRET_NAME = re.compile(
    r"(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|(API|ACCESS|PRIVATE|SECRET)_?KEY)$"
)
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable's name or value is of the kind that must not stand in a file of settings."""
    return bool(_SECRET_NAME.search(name.upper()) or _WITH_PASSWORD.search(value))


def _referenced(value: object) -> object:
    """Secrets as a table of references, whichever way they were listed. No sentence here repeats what was written."""
    value = decoded(value)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (Sequence, Mapping)):
        return value
    names = [str(name) for name in value]
    for place, name in enumerate(names):
        # Not left to the check of a table's keys: that would repeat the key, and somebody may have written NAME=value.
        if VARIABLE_NAME.fullmatch(name) is None:
            raise ValueError(
                f"has as its entry {place} what is no name of an environment variable; write the name alone, never its "
                "value"
            )
        if name in names[:place]:
            raise ValueError(f"names its entry {place} twice; remove one of them")
    return value if isinstance(value, Mapping) else {name: f"env:{name}" for name in names}


def _reference(value: object) -> str:
    kind, colon, target = value.partition(":") if isinstance(value, str) else ("", "", "")
    well_formed = bool(VARIABLE_NAME.fullmatch(target)) if kind == "env" else target.startswith("/")
    if not colon or kind not in ("env", "file") or not well_formed:
        raise ValueError(
            'must say where the secret is found, never what it is: "env:NAME" (a variable of the worker) or '
            '"file:/path/to/file", from the root on'
        )
    return f"{kind}:{target}"


SecretReference = Annotated[str, BeforeValidator(_reference)]
Secrets = Annotated[dict[VariableName, SecretReference], BeforeValidator(_referenced)]
Variables = Annotated[dict[VariableName, str], BeforeValidator(decoded)]
