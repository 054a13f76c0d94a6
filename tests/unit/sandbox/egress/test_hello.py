"""The name in a TLS client's first message, as the standard library's own client writes it."""

import ssl

import pytest

from workers.sandbox.egress.hello import MalformedHelloError, begins_hello, server_name


def hello(name: str | None) -> bytes:
    """The first bytes that a real client sends."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def test_the_name_is_found() -> None:
    first = hello("Files.Example.com")
    assert begins_hello(first)
    assert server_name(first) == (True, "Files.Example.com")


def test_every_cut_asks_for_more() -> None:
    first = hello("example.com")
    assert {server_name(first[:length]) for length in range(1, len(first))} == {(False, None)}


def test_a_message_spread_over_records_is_put_together() -> None:
    first = hello("example.com")
    message = first[5:]
    spread = b"".join(
        first[:3] + len(part).to_bytes(2, "big") + part for part in (message[:7], message[7:90], message[90:])
    )
    assert server_name(spread) == (True, "example.com")


def test_no_name_is_no_name() -> None:
    assert server_name(hello(None)) == (True, None)


def test_other_protocols_are_none_of_ours() -> None:
    assert not begins_hello(b"SSH-2.0-OpenSSH")
    assert not begins_hello(b"")


def test_what_lies_about_its_lengths_is_refused() -> None:
    first = bytearray(hello("example.com"))
    at = bytes(first).index(b"example.com")
    for offset in (-2, -5, -7):
        wrong = bytearray(first)
        wrong[at + offset : at + offset + 2] = b"\xff\xff"
        with pytest.raises(MalformedHelloError):
            server_name(bytes(wrong))
    with pytest.raises(MalformedHelloError):
        server_name(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
    with pytest.raises(MalformedHelloError):
        server_name(b"\x16\x03\x01\x00\x00")


def test_two_names_are_one_too_many() -> None:
    first = hello("a.com")
    entry = b"\x00\x00\x05a.com"
    at = first.index(entry)
    grown = first[: at - 2] + b"\x00\x10" + entry * 2 + first[at + len(entry) :]
    grown = grown[: at - 4] + b"\x00\x12" + grown[at - 2 :]
    added = len(entry)
    for place, width in ((3, 2), (6, 3)):
        size = int.from_bytes(grown[place : place + width], "big") + added
        grown = grown[:place] + size.to_bytes(width, "big") + grown[place + width :]
    sessions = 5 + 4 + 34
    ciphers = sessions + 1 + grown[sessions]
    compression = ciphers + 2 + int.from_bytes(grown[ciphers : ciphers + 2], "big")
    extensions = compression + 1 + grown[compression]
    size = int.from_bytes(grown[extensions : extensions + 2], "big") + added
    grown = grown[:extensions] + size.to_bytes(2, "big") + grown[extensions + 2 :]
    with pytest.raises(MalformedHelloError, match="more than one name"):
        server_name(grown)
