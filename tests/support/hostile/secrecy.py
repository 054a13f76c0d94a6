"""Payloads that go for secrets: those of other pools, and ways to carry the own one out unseen."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from pathlib import Path

from tests.support.hostile.attempts import Targets, numbered_processes


def look_for_other_pools_secrets(targets: Targets) -> list[str]:
    """In the environment, in memory, in every visible process."""
    needle = targets["other_secret"][::-1]
    found = [name for name, value in os.environ.items() if needle in value]
    for pid in {*numbered_processes(), *targets["pids"]}:
        for name in ("environ", "cmdline", "maps"):
            with contextlib.suppress(OSError):
                if needle.encode() in Path(f"/proc/{pid}/{name}").read_bytes():
                    found.append(f"{name} of {pid}")
    return found


def look_for_the_secret_in_process_lists(targets: Targets) -> list[str]:
    """The own secret in places that other processes could read as well."""
    needle = os.environ["TOKEN"].encode()
    found = []
    for pid in numbered_processes():
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if needle in Path(f"/proc/{pid}/{name}").read_bytes():
                    found.append(f"{name} of {pid}")
    return found


def look_for_the_workers_variables(targets: Targets) -> list[str]:
    """Whatever is in the environment that no pool has listed."""
    expected = {
        "PATH",
        "HOME",
        "TMPDIR",
        "PWD",
        "LANG",
        "LC_CTYPE",
        "TOKEN",
        "ERRANDRY_IDEMPOTENCY_KEY",
        "TZ",
        "HOSTNAME",
    }
    return [name for name in os.environ if name not in expected]


def return_the_secret(targets: Targets) -> object:
    """As it is, inside JSON, as a key, in pieces of an object."""
    token = os.environ["TOKEN"]
    return {"value": token, token: 1, "nested": [json.dumps({"inner": token})], "repr": repr(token)}


def raise_the_secret(targets: Targets) -> None:
    """As the words of an error, as its class, as its cause, on both streams."""
    token = os.environ["TOKEN"]
    print(token)
    print(token, file=sys.stderr)
    try:
        raise KeyError(token)
    except KeyError as error:
        raise type(f"Error_{token}", (Exception,), {})(token, {"token": token}) from error


def encode_the_secret(targets: Targets) -> list[str]:
    """By what everybody would try first."""
    token = os.environ["TOKEN"].encode()
    return [base64.b64encode(token).decode(), base64.urlsafe_b64encode(token).decode(), token.hex()]


def crash_with_the_secret(targets: Targets) -> None:
    """In the last words before an end without answer."""
    os.write(2, os.environ["TOKEN"].encode())
    os._exit(3)


def time_out_with_the_secret(targets: Targets) -> None:
    """Before being stopped."""
    print(os.environ["TOKEN"], flush=True)
    os.write(2, os.environ["TOKEN"].encode())
    while True:
        os.read(os.pipe()[0], 1)


def use_the_secret(targets: Targets) -> str:
    """What it is there for."""
    return str(len(os.environ["TOKEN"]))
