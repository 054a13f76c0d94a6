"""A store behind Sentinel: every process and every reader finds it, and finds its new primary; the doctor looks on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from queues.acl import GATEWAY, OPERATOR
from queues.checkup import Finding, Level
from queues.client import AsyncClient
from queues.connections import check, connect
from queues.errors import StoreUnreachableError
from queues.redis_url import resolved, url_of
from queues.server_checkup import server_findings
from tests.support.command import Command
from tests.support.gateways import serving
from tests.support.redis_users import nobody_refused
from tests.support.sentinel_group import SERVICE, WATCHER, SentinelGroup
from tests.support.waiting import comes_true, wait_until
from tests.support.walked import must_be_whole
from tests.support.walking import Walk, agent_worker, tool_worker, walking
from tests.support.watched import Watched, flower_of
from workers.checkup import Scope, examine

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(600)]

BOUND = 90


@pytest.fixture(scope="module")
def whole_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path_factory.mktemp("group"), replicas=2) as group:
        yield group


@pytest.fixture
def group(whole_group: SentinelGroup) -> SentinelGroup:
    whole_group.restore()
    return whole_group


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, whole_group: SentinelGroup) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("walk"), whole_group.url, start_workers=False) as walk:
        whole_group.let_in(walk.settings)
        pools = [tool_worker(walk, pool, name=pool) for pool in walk.settings.pools]
        walk.processes.start(agent_worker(walk, name="agents"), *pools)
        yield walk


def of(subject: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.subject == subject]


def looked(group: SentinelGroup) -> list[Finding]:
    with connect(group.url) as connection:
        return server_findings(connection, durability="replica")


# Every process, each as its own Redis user, before and after a fail-over


def test_all_that_serves_and_reads_goes_on_after_a_fail_over(group: SentinelGroup, walk: Walk) -> None:
    watched = Watched(walk, flower_of(walk))
    watched.start()
    settings = resolved(walk.settings, GATEWAY)
    with serving(settings) as served, served.asking() as client, nobody_refused(group.url):
        before = walk.processes.pids()
        _whole_walk(walk, watched)
        long = client.post("/v1/runs", json={"agent": "ops", "input": "Run sleep 6; echo late"}).json()["run_id"]
        by_thread: list[str] = []
        by_loop: list[str] = []
        readers = [
            threading.Thread(target=_follow, args=(walk, long, by_thread)),
            threading.Thread(target=asyncio.run, args=(_afollow(url_of(walk.settings), long, by_loop),)),
        ]
        for reader in readers:
            reader.start()
        wait_until(
            lambda: all("ToolCallExecuting" in seen for seen in (by_thread, by_loop)), "both see the call executing",
            timeout_seconds=BOUND,
        )  # fmt: skip
        # What the primary took last and no replica has would be gone: that is another test's matter.
        wait_until(group.is_in_step, "the replicas have all of it", timeout_seconds=BOUND)
        group.fail_over()
        for reader in readers:
            reader.join(BOUND)
        assert by_thread == by_loop and by_loop[-1] == "RunCompleted" and by_loop.count("ToolCallExecuting") == 1
        assert client.get(f"/v1/runs/{long}/wait", params={"timeout": 30}).json()["status"] == "COMPLETED"
        _whole_walk(walk, watched)
        assert client.get("/ready").status_code == 200
        assert walk.processes.pids() == before
    assert "Unrecoverable" not in "\n".join(walk.lines)


def _whole_walk(walk: Walk, watched: Watched) -> None:
    """A run through all workers, seen by Flower, by the doctor and on the command line."""
    run = walk.client.submit("ops", "Everything at once")
    must_be_whole(run, run.wait(timeout=BOUND))
    wait_until(lambda: _is_heard(watched), "Flower hears of runs", timeout_seconds=BOUND)
    assert {"agents", "tools.shell"} <= set(_lengths(watched))
    # The sweep may have published a message of a run again that was on its way all the while.
    wait_until(lambda: set(_lengths(watched).values()) == {0}, "the queues are empty", timeout_seconds=BOUND)
    # A busy machine's workers do not always answer in time.
    wait_until(lambda: _are_seen(walk), "the doctor sees the workers", timeout_seconds=BOUND)
    command = Command(walk.settings.project_dir, dict(walk.settings.as_environment()))
    shown = command.run("show", run.run_id)
    assert shown.returncode == 0 and "COMPLETED" in shown.stdout, shown


def _lengths(watched: Watched) -> dict[str, int]:
    """How many messages wait, by their queue."""
    return {queue["name"]: queue["messages"] for queue in watched.get("/api/queues/length").json()["active_queues"]}


def _are_seen(walk: Walk) -> bool:
    found = list(examine(walk.settings, Scope(sandboxes=False)))
    return {finding.level for finding in of("workers.agents", found) + of("workers.shell", found)} == {Level.OK}


def _is_heard(watched: Watched) -> bool:
    """Events are told to whoever listens just then; what was told while Flower was cut off it never hears."""
    run = watched.done("Run true")
    return comes_true(lambda: watched.task(f"{run.run_id}:1").get("state") == "SUCCESS", timeout_seconds=3)


def _follow(walk: Walk, run_id: str, seen: list[str]) -> None:
    for event in walk.client.events(run_id, timeout=BOUND):
        seen.append(event.event)


async def _afollow(url: str, run_id: str, seen: list[str]) -> None:
    async with AsyncClient(url) as client:
        async for event in client.events(run_id, timeout=BOUND):
            seen.append(event.event)


def test_a_frozen_primary_holds_a_client_up_once(group: SentinelGroup) -> None:
    """One command has to run out of time; the next try asks the Sentinels, where redis-py's own would not."""
    old = group.primary()
    with connect(group.url, socket_timeout_seconds=5.0) as connection:
        connection.set("key", "value")
        wait_until(group.is_in_step, "the replicas have all")
        old.freeze()
        try:
            wait_until(lambda: group.has_moved_from(old), "another server is the primary", timeout_seconds=BOUND)
            assert connection.get("key") == "value"  # over the connection that leads to the frozen one
        finally:
            old.thaw()


# What is wrong with the address


def test_sentinels_that_cannot_help_are_named_with_their_reasons(group: SentinelGroup) -> None:
    unknown = group.url.replace(f"/{SERVICE}/", "/others/")
    stranger = group.url.replace(f"sentinel_password={WATCHER}", "sentinel_password=wrong")
    for url, reason in ((unknown, "No such master with that name"), (stranger, "password")):
        with connect(url) as connection, pytest.raises(StoreUnreachableError) as caught:
            check(connection)
        assert reason in str(caught.value) and "no Sentinel names a primary" in str(caught.value)
        assert "wrong" not in str(caught.value) and WATCHER not in str(caught.value)


# The doctor


def test_the_doctor_tells_who_stands_by(group: SentinelGroup) -> None:
    wait_until(lambda: not _not_well(looked(group)) - {"redis.users"}, "all is well", timeout_seconds=BOUND)
    found = looked(group)
    (sentinels,), (replicas,), (fewest,) = (
        of(f"redis.{word}", found) for word in ("sentinels", "replicas", "min_replicas")
    )
    assert sentinels.text == f"3 Sentinels: {SERVICE} is 127.0.0.1:{group.primary().port}"
    assert replicas.text.startswith("2 replicas of the primary: 127.0.0.1:")
    assert fewest.text == "writes stop while fewer than 1 of 2 are in step"


def _not_well(findings: list[Finding]) -> set[str]:
    return {finding.subject for finding in findings if finding.level is not Level.OK}


def test_the_doctor_misses_users_on_a_replica(group: SentinelGroup, walk: Walk) -> None:
    replica = group.replicas()[0]
    replica.operator.acl_deluser(OPERATOR)
    try:
        found = list(examine(walk.settings, Scope(sandboxes=False)))
        (missing,) = [finding for finding in of("redis.replicas", found) if finding.level is Level.PROBLEM]
        assert f"127.0.0.1:{replica.port} does not know this user" in missing.text and "errandry acl" in missing.remedy
    finally:
        group.let_in(walk.settings)


def test_the_doctor_misses_what_protects_the_data(group: SentinelGroup) -> None:
    primary, replica = group.primary().operator, group.replicas()[0].operator
    primary.config_set("min-replicas-to-write", 0)
    replica.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = looked(group)
        assert [finding.level for finding in of("redis.min_replicas", found)] == [Level.WARNING]
        assert any("keeps data less safely" in finding.text for finding in of("redis.replicas", found))
        primary.config_set("min-replicas-to-write", 3)
        (refusing,) = of("redis.min_replicas", looked(group))
        assert refusing.level is Level.PROBLEM and "refuses writes" in refusing.text
    finally:
        primary.config_set("min-replicas-to-write", 1)
        replica.config_set("maxmemory-policy", "noeviction")


def test_the_doctor_misses_sentinels(group: SentinelGroup) -> None:
    for sentinel in group.sentinels[:2]:
        sentinel.kill()
    try:
        wait_until(lambda: of("redis.quorum", looked(group)), "there is no quorum", timeout_seconds=BOUND)
        found = looked(group)
        assert {finding.level for finding in of("redis.quorum", found)} == {Level.PROBLEM}
        assert any("2 Sentinels of the address cannot be asked" in one.text for one in of("redis.sentinels", found))
        one = group.url.replace(f"127.0.0.1:{group.sentinels[0].port},127.0.0.1:{group.sentinels[1].port},", "")
        with connect(one) as connection:
            assert any("names 1 Sentinel" in finding.text for finding in server_findings(connection))
    finally:
        for sentinel in group.sentinels[:2]:
            sentinel.start()


def test_the_doctor_looks_as_the_operator_without_being_refused(group: SentinelGroup, walk: Walk) -> None:
    settings = resolved(walk.settings, OPERATOR)
    assert settings.redis_url is not None
    with nobody_refused(group.url), connect(settings.redis_url.get_secret_value()) as connection:
        found = server_findings(connection)
    assert of("redis.sentinels", found) and not [one for one in found if "cannot be seen" in one.text]
