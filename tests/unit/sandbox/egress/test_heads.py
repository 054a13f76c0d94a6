"""Heads of requests: what is taken, what goes out for it, and everything ambiguous refused."""

import pytest

from workers.sandbox.egress.heads import BadHeadError, parse_head


def parsed(text: str) -> object:
    return parse_head(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")


def test_a_tunnel() -> None:
    head = parse_head(b"CONNECT Example.com.:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: x\r\n\r\n")
    assert (head.host, head.port, head.tunnel, head.forwarded) == ("example.com", 443, True, b"")
    assert parse_head(b"CONNECT [2001:DB8::1]:8443 HTTP/1.0\r\n\r\n").host == "2001:db8::1"


def test_a_plain_request_is_written_anew() -> None:
    head = parse_head(
        b"POST http://EXAMPLE.com:8080/a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nProxy-Authorization: basic x\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept:   a b\t\r\n"
        b"Content-Length: 3\r\n\r\n"
    )
    assert (head.host, head.port, head.tunnel, head.method, head.length) == ("example.com", 8080, False, "POST", 3)
    assert head.forwarded == (
        b"POST /a?b=c HTTP/1.1\r\nhost: example.com:8080\r\nx-kept: a b\r\ncontent-length: 3\r\n"
        b"connection: close\r\n\r\n"
    )


def test_a_listed_header_cannot_take_the_length_along() -> None:
    head = parse_head(b"POST http://a.com/ HTTP/1.1\r\nConnection: content-length, host\r\nContent-Length: 3\r\n\r\n")
    assert b"content-length: 3\r\n" in head.forwarded
    assert b"host: a.com\r\n" in head.forwarded


def test_paths() -> None:
    assert parse_head(b"GET http://a.com HTTP/1.1\r\n\r\n").forwarded.startswith(b"GET / HTTP/1.1\r\n")
    assert parse_head(b"GET http://a.com?x HTTP/1.1\r\n\r\n").forwarded.startswith(b"GET /?x HTTP/1.1\r\n")
    assert parse_head(b"GET http://[::1]:81/ HTTP/1.1\r\n\r\n").forwarded.split(b"\r\n")[1] == b"host: [::1]:81"


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/1.1\nHost: example.com",
        "GET https://example.com/ HTTP/1.1",
        "GET ftp://example.com/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://user:word@example.com/ HTTP/1.1",
        "GET http://example.com@evil.com/ HTTP/1.1",
        "GET http://example.com/#part HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://example.com:0/ HTTP/1.1",
        "GET http://example.com:99999/ HTTP/1.1",
        "GET http://example.com:80:80/ HTTP/1.1",
        "GET http://127.1/ HTTP/1.1",
        "GET http://exam%70le.com/ HTTP/1.1",
        "GET http://example.com\\@evil.com/ HTTP/1.1",
        "GET http://example.com/ HTTP/2.0",
        "GET http://example.com/ HTTP/1.1 ",
        "GET  http://example.com/ HTTP/1.1",
        "GET http://example.com/ a HTTP/1.1",
        "GET\thttp://example.com/ HTTP/1.1",
        " GET http://example.com/ HTTP/1.1",
        "G" * 40 + " http://example.com/ HTTP/1.1",
        "GET http://example.com/ HTTP/1.1\nHost: evil.com",
        "GET http://example.com/ HTTP/1.1\nHost: example.com\nHost: example.com",
        "GET http://example.com/ HTTP/1.1\nNo colon",
        "GET http://example.com/ HTTP/1.1\nSpaced : x",
        "GET http://example.com/ HTTP/1.1\n: x",
        "GET http://example.com/ HTTP/1.1\nA: x\n continued",
        "GET http://example.com/ HTTP/1.1\n A: x",
        "GET http://example.com/ HTTP/1.1\nA: x\x00y",
        "GET http://example.com/ HTTP/1.1\nA: x\ry",
        "GET http://example.com/ HTTP/1.1\nA: x\x0by",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 3\nContent-Length: 3",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 3\nContent-Length: 4",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked",
        "POST http://example.com/ HTTP/1.1\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
        "POST http://example.com/ HTTP/1.1\nContent-Length: +3",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 3, 3",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 0x3",
        "POST http://example.com/ HTTP/1.1\nContent-Length: -1",
        "POST http://example.com/ HTTP/1.1\nContent-Length: ",
        "POST http://example.com/ HTTP/1.1\nContent-Length: 1111111111111111",
        "CONNECT example.com HTTP/1.1",
        "CONNECT http://example.com:443 HTTP/1.1",
        "CONNECT example.com:443/x HTTP/1.1",
        "CONNECT user@example.com:443 HTTP/1.1",
        "CONNECT example.com:443 HTTP/1.1\nHost: evil.com:443",
        "CONNECT example.com:443 HTTP/1.1\nContent-Length: 5",
        "",
        "\n\n",
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(text: str) -> None:
    with pytest.raises(BadHeadError) as caught:
        parsed(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", "identity"])
def test_transfer_encodings_that_only_some_understand_are_refused(coding: str) -> None:
    with pytest.raises(BadHeadError) as caught:
        parsed(f"POST http://example.com/ HTTP/1.1\nTransfer-Encoding: {coding}")
    assert caught.value.status == 501


def test_a_bare_newline_ends_nothing() -> None:
    with pytest.raises(BadHeadError):
        parse_head(b"GET http://example.com/ HTTP/1.1\nHost: example.com\r\n\r\n")
