"""Signs what is posted to webhooks, as the Standard Webhooks convention has it. Looks no secret up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from queues.errors import SettingsError

_PREFIX = "whsec_"


def keys_of(secret: str) -> list[bytes]:
    """The keys in the text of a secret: one, or several between blanks, of which the receivers may know any.

    A key that begins with `whsec_` goes on in base64; any other is taken as it is. SettingsError if there is none.
    """
    keys = [_key(word) for word in secret.split()]
    if not keys:
        raise SettingsError("webhook_secret of [gateway] leads to blanks only; put a secret there.")
    return keys


def signed_headers(message_id: str, body: bytes, *, at: int, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers that let a receiver check who sent the body, and when: `at` is in seconds since 1970."""
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(word: str) -> bytes:
    if not word.startswith(_PREFIX):
        return word.encode()
    encoded = word.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        # Without its cause, which could show a part of it.
        raise SettingsError(
            f"webhook_secret of [gateway] leads to a secret that begins with {_PREFIX} and does not go on in base64; "
            "copy it again, or leave the beginning out."
        ) from None
    return key
