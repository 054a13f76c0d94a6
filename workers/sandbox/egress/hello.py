"""The name that a TLS client asks for, read from its first message.

It never decrypts anything; it looks at what the client says in the clear.
"""

from __future__ import annotations

MOST_BYTES = 1 << 16
# Fatal alert 112, unrecognized name: what a client understands when its first message is refused.
ALERT = bytes([21, 3, 1, 0, 2, 2, 112])
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0


class MalformedHelloError(Exception):
    """The bytes begin like a TLS client's first message and go on differently."""


def begins_hello(first: bytes) -> bool:
    """Whether the first bytes of a connection are those of a TLS handshake."""
    return first[:1] == bytes([_HANDSHAKE])


def server_name(seen: bytes) -> tuple[bool, str | None]:
    """Whether the whole first message is there, and the name that it asks for; raises `MalformedHelloError`."""
    message = _unwrapped(seen)
    if len(message) < 4:
        return False, None
    if message[0] != _CLIENT_HELLO:
        raise MalformedHelloError("it is no ClientHello")
    length = int.from_bytes(message[1:4], "big")
    if len(message) - 4 < length:
        return False, None
    try:
        return True, _name_in(_Cursor(message[4 : 4 + length]))
    except (IndexError, UnicodeDecodeError) as error:
        raise MalformedHelloError("a length in it is wrong") from error


def _unwrapped(seen: bytes) -> bytes:
    """The handshake's bytes without the records around them; one message may be spread over several."""
    message = b""
    while len(seen) >= 5:
        if seen[0] != _HANDSHAKE or seen[1] != 3:
            # Another kind of record after a complete message is none of ours.
            break
        length = int.from_bytes(seen[3:5], "big")
        if length == 0:
            raise MalformedHelloError("a record in it is empty")
        message += seen[5 : 5 + length]
        seen = seen[5 + length :]
    return message


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._content):
            raise IndexError
        self._at += count
        return self._content[self._at - count : self._at]

    def sized(self, width: int) -> bytes:
        return self.take(int.from_bytes(self.take(width), "big"))

    @property
    def done(self) -> bool:
        return self._at >= len(self._content)


def _name_in(hello: _Cursor) -> str | None:
    hello.take(2 + 32)  # version and random
    hello.sized(1)  # session
    hello.sized(2)  # ciphers
    hello.sized(1)  # compression
    if hello.done:
        return None
    extensions = _Cursor(hello.sized(2))
    found: list[str] = []
    while not extensions.done:
        kind, content = int.from_bytes(extensions.take(2), "big"), extensions.sized(2)
        if kind == _SERVER_NAME:
            names = _Cursor(_Cursor(content).sized(2))
            while not names.done:
                type_of_name, name = names.take(1)[0], names.sized(2)
                if type_of_name == 0:
                    found.append(name.decode("ascii"))
    if len(found) > 1:
        raise MalformedHelloError("it asks for more than one name")
    return found[0] if found else None
