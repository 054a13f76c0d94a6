"""What the proxy carries and what it refuses: real servers, real TLS, hostile clients and hostile names."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.egress import SECONDS, Names, certificate, exchange, listening, page, tunnel, way_out
from workers.sandbox.egress.policy import Policy

HOME = [["127.0.0.1"]]
POLICY = Policy(domains=("files.test", "*.many.test"), allow_private=True)


def allowing(port: int, **changes: object) -> Policy:
    return replace(POLICY, ports=(port,), **changes)  # type: ignore[arg-type]


async def test_a_plain_request_is_carried_and_counted() -> None:
    names = Names(files__test=HOME)
    async with listening(page(b"hello")) as server, way_out(allowing(server.port), names) as way:
        request = f"GET http://FILES.test:{server.port}/a?b HTTP/1.1\r\nHost: files.test:{server.port}\r\nX: y\r\n\r\n"
        answer = await exchange(way.port, request.encode())
    assert answer.endswith(b"\r\n\r\nhello")
    forwarded = f"GET /a?b HTTP/1.1\r\nhost: files.test:{server.port}\r\nx: y\r\nconnection: close\r\n\r\n".encode()
    assert server.heard == [forwarded]
    place = f"files.test:{server.port}"
    assert way.told == {"sent": {place: len(forwarded)}, "received": {place: len(answer)}, "refused": {}}
    assert names.asked == ["files.test"]


@pytest.mark.parametrize(
    ("body", "headers", "arrives"),
    [
        (b"12345", b"Content-Length: 5", b"12345"),
        (
            b"3;note=x\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
            b"Transfer-Encoding: chunked",
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ),
    ],
)
async def test_exactly_the_body_goes_out(body: bytes, headers: bytes, arrives: bytes) -> None:
    smuggled = b"GET http://files.test/secret HTTP/1.1\r\nHost: files.test\r\n\r\n"
    answer = page(b"done")(b"\r\n\r\n")
    async with (
        listening(lambda heard: answer if heard.endswith(arrives) else b"") as server,
        way_out(allowing(server.port), Names(files__test=HOME)) as way,
    ):
        head = f"POST http://files.test:{server.port}/ HTTP/1.1\r\n".encode() + headers + b"\r\n\r\n"
        assert (await exchange(way.port, head + body + smuggled)).endswith(b"done")
    assert len(server.heard) == 1
    assert server.heard[0].endswith(b"\r\n\r\n" + arrives)
    assert b"secret" not in server.heard[0]


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n",
        b"-1\r\n",
        b"3\r\nabcde\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n",
        b"f" * 2000 + b"\r\n",
        b"\r\n",
    ],
)
async def test_malformed_chunks_end_the_connection(chunks: bytes) -> None:
    async with (
        listening(lambda _: b"") as server,
        way_out(allowing(server.port), Names(files__test=HOME)) as way,
    ):
        head = f"POST http://files.test:{server.port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert await exchange(way.port, head + chunks + b"GET /smuggled HTTP/1.1\r\n\r\n") == b""
    assert b"smuggled" not in b"".join(server.heard)


async def test_a_tunnel_carries_both_ways_until_both_have_ended() -> None:
    async with (
        listening(lambda heard: b"bye " + heard if heard.endswith(b"!") else b"") as server,
        way_out(allowing(server.port), Names(files__test=HOME)) as way,
    ):
        reader, writer, head = await tunnel(way.port, f"files.test:{server.port}")
        assert head == b"HTTP/1.1 200 Connection established\r\n\r\n"
        writer.write(b"hello")
        await writer.drain()
        writer.write(b"!")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), SECONDS) == b"bye hello!"
        writer.close()


async def test_a_server_may_speak_first() -> None:
    async with (
        listening(lambda _: b"220 ready") as server,
        way_out(allowing(server.port), Names(files__test=HOME)) as way,
    ):
        reader, writer, _ = await tunnel(way.port, f"files.test:{server.port}")
        assert await asyncio.wait_for(reader.readexactly(9), SECONDS) == b"220 ready"
        writer.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_tls_goes_through_and_only_for_the_name_of_the_tunnel(tmp_path: Path) -> None:
    file = certificate(tmp_path, "files.test", "evil.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "public.pem"))
    async with (
        listening(page(b"sealed"), context=context) as server,
        way_out(allowing(server.port), Names(files__test=HOME)) as way,
    ):
        reader, writer, _ = await tunnel(way.port, f"files.test:{server.port}")
        await writer.start_tls(trusting, server_hostname="files.test")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), SECONDS)).endswith(b"sealed")
        writer.close()
        connections = len(server.heard)
        _, writer, _ = await tunnel(way.port, f"files.test:{server.port}")
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await asyncio.wait_for(writer.start_tls(trusting, server_hostname="evil.test"), SECONDS)
        writer.transport.abort()
    assert way.told["refused"] == {"evil.test": 1}
    assert len(server.heard) == connections, "not one byte of the second handshake arrived"


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (
            "evil.test:443",
            "403 evil.test is not in this pool's allow_domains. This host cannot be reached; these can be",
        ),
        ("many.test:443", "403 many.test is not in this pool's allow_domains"),
        ("127.0.0.1:443", "403 127.0.0.1 is not in this pool's allow_domains. This address cannot be reached"),
        ("[::ffff:7f00:1]:443", "403 ::ffff:7f00:1 is not in this pool's allow_domains"),
        (
            "files.test:25",
            "403 Port 25 is not in this pool's allow_ports. On files.test use one of these ports: 443, 80.",
        ),
        ("gone.many.test:443", "502 gone.many.test is allowed but its name cannot be resolved."),
        ("empty.many.test:443", "502 empty.many.test is allowed but its name has no address."),
        ("odd.many.test:443", "502 odd.many.test is allowed but its name cannot be resolved."),
        (
            "meta.many.test:80",
            "403 meta.many.test leads to 169.254.169.254, a metadata address, which this pool may not",
        ),
        ("mapped.many.test:80", "403 mapped.many.test leads to ::ffff:a9fe:a9fe, a metadata address"),
        ("any.many.test:80", "403 any.many.test leads to 0.0.0.0, a link-local, multicast or reserved address"),
    ],
)
async def test_refusals_say_why_in_status_line_and_body(target: str, answer: str) -> None:
    names = Names(
        files__test=HOME,
        empty__many__test=[[]],
        odd__many__test=[["no address"]],
        meta__many__test=[["169.254.169.254"]],
        mapped__many__test=[["::ffff:169.254.169.254"]],
        any__many__test=[["0.0.0.0"]],
    )
    async with way_out(POLICY, names) as way:
        host, _, port = target.rpartition(":")
        status, words = answer.split(" ", 1)
        for request in (f"CONNECT {target} HTTP/1.1\r\n\r\n", f"GET http://{target}/ HTTP/1.1\r\n\r\n"):
            head, _, body = (await exchange(way.port, request.encode())).decode().partition("\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {answer}")
            assert body.startswith(words)
            assert body.count("\n") == 1
    name = "::ffff:127.0.0.1" if "ffff:7f" in host else host.strip("[]")
    refused = {f"{name}:{port}": 2} if status == "403" else {}
    assert {entry.replace("::ffff:7f00:1", name): times for entry, times in way.told["refused"].items()} == refused


async def test_private_addresses_are_refused_unless_the_pool_allows_them() -> None:
    async with (
        listening(page(b"inner")) as server,
        way_out(allowing(server.port, allow_private=False), Names(files__test=HOME)) as way,
    ):
        answer = await exchange(way.port, f"GET http://files.test:{server.port}/ HTTP/1.1\r\n\r\n".encode())
    assert b"files.test leads to 127.0.0.1, a private address, which this pool may not reach." in answer
    assert server.heard == []


async def test_a_name_with_a_good_and_a_bad_address_leads_nowhere() -> None:
    for answers in (["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"]):
        async with (
            listening(page(b"inner")) as server,
            way_out(allowing(server.port, allow_private=False), Names(files__test=[answers])) as way,
        ):
            answer = await exchange(way.port, f"GET http://files.test:{server.port}/ HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 files.test leads to 127.0.0.1")
        assert server.heard == []


async def test_a_name_that_changes_its_mind_is_asked_once() -> None:
    names = Names(files__test=[["127.0.0.1"], ["169.254.169.254"]])
    async with listening(page(b"first answer")) as server, way_out(allowing(server.port), names) as way:
        request = f"GET http://files.test:{server.port}/ HTTP/1.1\r\n\r\n".encode()
        assert (await exchange(way.port, request)).endswith(b"first answer")
        assert names.asked == ["files.test"]
        assert b"a metadata address" in await exchange(way.port, request)
    assert len(server.heard) == 1


async def test_a_listed_address_may_be_reached_by_its_numbers() -> None:
    async with (
        listening(page(b"by number")) as server,
        way_out(allowing(server.port, domains=("127.0.0.1",)), Names()) as way,
    ):
        answer = await exchange(way.port, f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\n\r\n".encode())
    assert answer.endswith(b"by number")


async def test_a_redirect_to_metadata_ends_at_the_proxy() -> None:
    away = page(b"", status=b"302 Found", headers=b"location: http://169.254.169.254/latest/meta-data\r\n")
    async with listening(away) as server, way_out(allowing(server.port), Names(files__test=HOME)) as way:
        first = await exchange(way.port, f"GET http://files.test:{server.port}/ HTTP/1.1\r\n\r\n".encode())
        location = first.partition(b"location: ")[2].partition(b"\r\n")[0]
        second = await exchange(way.port, b"GET " + location + b" HTTP/1.1\r\n\r\n")
    assert second.startswith(b"HTTP/1.1 403 169.254.169.254 is not in this pool's allow_domains.")


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1", "GET https://files.test/ HTTP/1.1", "\x16\x03\x01", "nonsense"]
)
async def test_what_is_no_request_to_a_proxy_is_refused(request_line: str) -> None:
    async with way_out(POLICY, Names()) as way:
        assert (await exchange(way.port, f"{request_line}\r\n\r\n".encode())).startswith(b"HTTP/1.1 400 Bad Request")


async def test_a_slow_head_is_not_waited_for() -> None:
    async with way_out(replace(POLICY, head_seconds=0.2), Names()) as way:
        assert (await exchange(way.port, b"GET http://files.test/ HT")).startswith(b"HTTP/1.1 408 ")


async def test_a_huge_head_is_not_read() -> None:
    async with way_out(POLICY, Names()) as way:
        many = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(10_000))
        answer = await exchange(way.port, b"GET http://files.test/ HTTP/1.1\r\n" + many + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_refusal_arrives_although_the_body_is_still_coming() -> None:
    async with way_out(POLICY, Names()) as way:
        head = b"POST http://evil.test/ HTTP/1.1\r\nContent-Length: 900000\r\n\r\n"
        answer = await exchange(way.port, head, b"x" * 900_000)
    assert answer.startswith(b"HTTP/1.1 403 evil.test is not in")


async def test_a_silent_tunnel_is_closed() -> None:
    async with (
        listening(lambda _: b"") as server,
        way_out(allowing(server.port, idle_seconds=0.3), Names(files__test=HOME)) as way,
    ):
        reader, writer, _ = await tunnel(way.port, f"files.test:{server.port}")
        assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        writer.close()


async def test_connections_of_a_call_are_bounded() -> None:
    async with way_out(replace(POLICY, connections=2), Names()) as way:
        held = [await asyncio.open_connection("127.0.0.1", way.port) for _ in range(2)]
        answer = await exchange(way.port, b"")
        assert answer.startswith(b"HTTP/1.1 503 More than 2 connections are open at once")
        for _, writer in held:
            writer.close()


async def test_bytes_of_a_call_are_bounded() -> None:
    async with (
        listening(page(b"z" * 300_000)) as server,
        way_out(allowing(server.port, traffic_bytes=1 << 18), Names(files__test=HOME)) as way,
    ):
        request = f"GET http://files.test:{server.port}/ HTTP/1.1\r\n\r\n".encode()
        assert len(await exchange(way.port, request)) < 1 << 18
        assert (await exchange(way.port, request)).startswith(b"HTTP/1.1 403 This call has moved 0.25 MiB")


async def test_the_end_of_a_call_ends_its_connections() -> None:
    async with listening(lambda _: b"") as server:
        async with way_out(allowing(server.port), Names(files__test=HOME)) as way:
            reader, writer, _ = await tunnel(way.port, f"files.test:{server.port}")
        assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", way.port)


async def test_the_account_is_bounded_whatever_is_tried() -> None:
    async with way_out(POLICY, Names()) as way:
        for number in range(130):
            await exchange(way.port, f"CONNECT host{number}.evil.test:443 HTTP/1.1\r\n\r\n".encode())
    assert len(way.told["refused"]) == 101
    assert way.told["refused"]["(others)"] == 30
