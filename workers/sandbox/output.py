"""Text that leaves the sandbox: bounded while it is read, cut in the middle, without the pool's secrets.

It never decides how a call ended, and it imports the standard library only, for both sides of the wall use it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

# Shorter ones, encoded, are too common to stand for a secret.
_LEAST_ENCODED_BYTES = 6
_LEAST_LINE = 20
# An answer inside an answer inside an answer.
_JSON_DEPTH = 3


def clean(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut_middle(text: str, limit_bytes: int) -> tuple[str, bool]:
    """At most about `limit_bytes` of the text as UTF-8, its middle replaced by a mark; and whether anything was cut."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return clean(text), False
    half = limit_bytes // 2
    return _joined(encoded[:half], encoded[len(encoded) - half :], missing=len(encoded) - 2 * half), True


def _joined(head: bytes, tail: bytes, *, missing: int) -> str:
    mark = f"\n[... {missing} bytes cut out here by the output limit ...]\n"
    return head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """The text with each secret's value replaced by a mark that names it.

    Also where it stands inside JSON or an address, or was written in base64 or as hexadecimal digits. A tool that wants
    to give a secret away can always write it in another way; what this prevents is an accident.
    """
    for name, secret in sorted(secrets.items(), key=lambda item: -len(item[1])):
        for form in forms(secret):
            text = text.replace(form, f"[secret {name}]")
    return text


@lru_cache(maxsize=256)
def forms(secret: str) -> tuple[str, ...]:
    """The ways in which the value may be written, the longest first."""
    forms = {secret, repr(secret)[1:-1]}
    for _ in range(_JSON_DEPTH):
        forms |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (True, False)}
    # Whoever prints a key often prints it line by line.
    forms |= {line for line in secret.splitlines() if len(line) >= _LEAST_LINE and not line.startswith("-----")}
    raw = secret.encode("utf-8", "replace")
    if len(raw) >= _LEAST_ENCODED_BYTES:
        forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw), raw.hex(), raw.hex().upper(), *_in_base64(raw)}
    return tuple(sorted((form for form in forms if form), key=len, reverse=True))


def _in_base64(raw: bytes) -> set[str]:
    """What base64 makes of the value wherever it stands in a longer text, as in the header of a basic authorization.

    Three bytes become four letters, so there are three ways; the letters at both ends depend on the neighbours too and
    are left out.
    """
    forms = set()
    for before in range(3):
        letters = b64encode(bytes(before) + raw).decode()
        core = letters[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


class Capture:
    """The first and the last bytes of a stream of any length; memory stays at the limit whatever comes."""

    def __init__(self, limit_bytes: int) -> None:
        self._half = max(1, limit_bytes // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    @property
    def truncated(self) -> bool:
        """Whether bytes in the middle were let go."""
        return self.total_bytes > len(self._head) + len(self._tail)

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes of the stream."""
        self.total_bytes += len(chunk)
        room = self._half - len(self._head)
        self._head += chunk[:room] if room > 0 else b""
        self._tail += chunk[room:] if room > 0 else chunk
        if len(self._tail) > self._half:
            del self._tail[: len(self._tail) - self._half]

    def text(self, secrets: Mapping[str, str]) -> str:
        """What was kept, without secrets; a secret that the cut halved is dropped with the cut's edges."""
        if not self.truncated:
            return redact((self._head + self._tail).decode("utf-8", "replace"), secrets)
        edge = max((len(form.encode()) for secret in secrets.values() for form in forms(secret)), default=1) - 1
        head = redact(self._head.decode("utf-8", "ignore"), secrets).encode()
        tail = redact(self._tail.decode("utf-8", "ignore"), secrets).encode()
        missing = self.total_bytes - len(self._head) - len(self._tail)
        return _joined(head[: max(0, len(head) - edge)], tail[edge:], missing=missing)
