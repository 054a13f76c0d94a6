"""Which URLs a run's end may be posted to, as far as their writing tells; looks no name up and imports no Redis."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from queues.errors import WebhookUrlError

MOST_CHARACTERS = 2048
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def checked_webhook_url(url: str) -> SplitResult:
    """The parts of a URL that a run's end may be posted to; WebhookUrlError, which says what is wrong, for any other.

    Its sentences do not repeat the URL: it may hold a token.
    """
    if len(url) > MOST_CHARACTERS:
        raise WebhookUrlError(f"webhook_url has {len(url)} characters; at most {MOST_CHARACTERS} are taken")
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise WebhookUrlError(
            "webhook_url holds blanks, control characters, a backslash or letters beyond ASCII; write names in their "
            "xn-- form and the rest percent-encoded"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise WebhookUrlError(f"webhook_url is no URL ({error}); write https://host/path") from None
    if parts.scheme not in ("http", "https"):
        raise WebhookUrlError("webhook_url must begin with https:// or http://")
    if not host or port == 0:
        raise WebhookUrlError("webhook_url names no host, or port 0; write https://host/path")
    if "@" in parts.netloc:
        raise WebhookUrlError("webhook_url holds a user name or password; leave them out; what is posted is signed")
    return parts
