"""Who is let into a real gateway: keys and roles, and without keys this machine's own programs only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateways import Served, project, serving
from workers.gateway.api_keys import create_key, revoke_key

pytestmark = pytest.mark.redis

NEW = {"agent": "ops", "input": "hello"}
ROUTES = {
    ("POST", "/v1/runs"): "submit",
    ("GET", "/v1/runs"): "read",
    ("GET", "/v1/runs/run_x"): "read",
    ("GET", "/v1/runs/run_x/output"): "read",
    ("GET", "/v1/runs/run_x/wait"): "read",
    ("GET", "/v1/runs/run_x/events"): "read",
    ("GET", "/v1/runs/run_x/pending"): "read",
    ("POST", "/v1/runs/run_x/cancel"): "operate",
    ("POST", "/v1/runs/run_x/retry"): "operate",
    ("POST", "/v1/runs/run_x/calls/a/settle"): "answer",
    ("POST", "/v1/runs/run_x/calls/a/confirm"): "answer",
    ("POST", "/v1/runs/run_x/calls/a/input"): "answer",
    ("GET", "/v1/agents"): "read",
    ("GET", "/v1/pools"): "read",
    ("GET", "/v1/dead-letters"): "operate",
    ("GET", "/v1/dead-letters/x"): "operate",
    ("POST", "/v1/dead-letters/x/requeue"): "operate",
    ("GET", "/metrics"): "read",
}
BODIES = {"settle": {"result": 1}, "confirm": {"approved": True}, "input": {"values": {}}, "runs": NEW}


@pytest.fixture
def keyed(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with serving(project(tmp_path, redis_url), keys=True) as served:
        yield served


@pytest.fixture
def local(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with serving(project(tmp_path, redis_url)) as served:
        yield served


def asked(client: httpx2.Client, method: str, path: str) -> httpx2.Response:
    body = BODIES.get(path.rpartition("/")[2]) if method == "POST" else None
    return client.request(method, path, json=body)


def problem(answer: httpx2.Response, status: int) -> dict[str, object]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, object] = answer.json()
    assert told["status"] == status and told["instance"] == answer.request.url.path and told["detail"]
    return told


def test_each_route_asks_for_its_role_and_no_other_will_do(keyed: Served) -> None:
    for role in ("submit", "read", "operate", "answer"):
        with keyed.asking(role) as client:
            for (method, path), wanted in ROUTES.items():
                answer = asked(client, method, path)
                if wanted == role:
                    assert answer.status_code in (200, 201, 404), (path, answer.text)
                else:
                    assert f"lacks the role {wanted}" in str(problem(answer, 403)["detail"])
                    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_every_route_of_the_description_stands_in_the_table(keyed: Served) -> None:
    """A new route is tried above, or this fails."""
    with keyed.asking() as client:
        described = client.get("/openapi.json").json()["paths"]
    secured = {
        (method.upper(), path.format(run_id="run_x", tool_call_id="a", letter_id="x", pool="shell"))
        for path, methods in described.items()
        for method, operation in methods.items()
        if "security" in operation and not path.startswith("/v1/pools/")
    }
    assert secured == set(ROUTES)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer  ek_x", "Basic abc", "Bearer ek_" + "a" * 43, "ek_x", "Bearer é"]
)
def test_without_a_known_key_nothing_is_told(keyed: Served, authorization: str | None) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    with keyed.asking() as client:
        for method, path in [*ROUTES, ("GET", "/v1/nothing"), ("GET", "/nothing")]:
            answer = client.request(method, path, headers=headers, json=NEW if method == "POST" else None)
            problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="errandry"')
        for path in ("/health", "/ready", "/openapi.json"):
            assert client.get(path, headers=headers).status_code == 200


def test_a_refused_body_is_not_read(keyed: Served) -> None:
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100_000

    with keyed.asking() as client:
        problem(client.post("/v1/runs", content=parts()), 401)
    assert 0 < read <= 100


def test_keys_that_are_made_and_revoked_count_at_once(local: Served) -> None:
    with local.asking() as client:
        assert client.get("/v1/runs").status_code == 200
        token = create_key(local.settings.api_keys_file, "late", roles=["read"])
        problem(client.get("/v1/runs"), 401)
        with_key = {"Authorization": f"Bearer {token}"}
        assert client.get("/v1/runs", headers=with_key).status_code == 200
        revoke_key(local.settings.api_keys_file, "late")
        problem(client.get("/v1/runs", headers=with_key), 401)


def test_a_file_of_keys_that_is_spoilt_lets_nobody_in(keyed: Served) -> None:
    keyed.settings.api_keys_file.write_text("{")
    with keyed.asking("all") as client:
        told = problem(client.get("/v1/runs"), 503)
        assert str(keyed.settings.project_dir) not in str(told)
        assert [client.get(path).status_code for path in ("/health", "/ready", "/")] == [200, 200, 200]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:8700", "127.1.2.3:1"])
def test_this_machine_needs_no_key(local: Served, host: str) -> None:
    with local.asking() as client:
        assert client.get("/v1/runs", headers={"Host": host}).status_code == 200
        own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert client.post("/v1/runs", headers=own, json=NEW).status_code == 201


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""]
)
def test_a_name_that_was_bent_to_this_machine_is_refused(local: Served, host: str) -> None:
    with local.asking() as client:
        for path in ("/v1/runs", "/health", "/"):
            told = problem(client.get(path, headers={"Host": host}), 403)
            assert told["errors"] == [{"field": "header.host", "detail": told["detail"]}]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_another_sites_page_changes_nothing(local: Served, headers: dict[str, str]) -> None:
    with local.asking() as client:
        problem(client.post("/v1/runs", headers=headers, json=NEW), 403)
        plain = {**headers, "Content-Type": "text/plain"}
        problem(client.post("/v1/runs", headers=plain, content=b'{"agent": "ops", "input": "x"}'), 403)
        assert client.get("/v1/runs").json()["runs"] == []
        # To follow a link is no attack: nobody but the reader sees the answer.
        followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert client.get("/health", headers=followed).status_code == 200


def test_answers_say_how_they_may_be_used(keyed: Served) -> None:
    with keyed.asking("read") as client:
        for path in ("/v1/runs", "/v1/runs/run_x", "/nothing", "/health"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert "server" not in headers and "access-control-allow-origin" not in headers
