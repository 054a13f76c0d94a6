"""Pools that are served over HTTP: what their table may say, and who is started for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from queues.acl import GATEWAY
from queues.errors import SettingsError
from queues.redis_url import project_roles
from queues.settings import Settings, load_settings
from tests.support.command import Command
from workers import up
from workers.tool_worker import build

HEAD = '[pools.remote]\ntools = ["elsewhere.tools:resize"]\n'


def written(folder: Path, *lines: str) -> Settings:
    (folder / "errandry.toml").write_text(HEAD + "\n".join(lines))
    return load_settings(folder)


def test_workers_serve_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    assert written(tmp_path).http_pools == ()
    settings = written(
        tmp_path, 'served_by = "http"', "queue_seconds = 60", "[pools.remote.sandbox]", "wall_seconds = 900",
        "output_kb = 64", "[pools.shell]", 'tools = ["t:run"]',
    )  # fmt: skip
    assert settings.http_pools == ("remote",)


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (["concurrency = 2"], "concurrency"),
        (["live_output = true"], "live_output"),
        (["flower_details = true"], "flower_details"),
        (["[pools.remote.sandbox]", 'level = "none"'], "sandbox.level"),
        (["[pools.remote.sandbox]", "memory_mb = 512"], "sandbox.memory_mb"),
        (["[pools.remote.sandbox]", 'network = "host"'], "sandbox.network"),
        (["[pools.remote.sandbox]", 'secrets = ["TOKEN"]'], "sandbox.secrets"),
        (["[pools.remote.sandbox]", 'network = "allowlist"', 'allow_domains = ["example.com"]'], "sandbox.network"),
    ],
)
def test_what_no_executor_heeds_is_refused(tmp_path: Path, lines: list[str], key: str) -> None:
    assert written(tmp_path, *lines).http_pools == ()
    with pytest.raises(SettingsError, match=f'pools.remote has {key} with served_by = "http"'):
        written(tmp_path, 'served_by = "http"', *lines)


def test_an_unknown_word_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="served_by must be 'worker' or 'http'"):
        written(tmp_path, 'served_by = "https"')


def test_a_child_process_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = written(tmp_path, 'served_by = "http"', "[pools.remote.sandbox]", "output_kb = 64")
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings().pools == settings.pools


def test_no_tool_worker_starts_for_it(tmp_path: Path) -> None:
    settings = written(tmp_path, 'served_by = "http"').with_redis_url("redis://127.0.0.1:1/0")
    with pytest.raises(SettingsError, match='pool remote has served_by = "http": executors fetch its calls'):
        build(settings, "remote")
    refused = Command(tmp_path).run("tool-worker", "--pool", "remote")
    assert refused.returncode == 2
    assert 'pool remote has served_by = "http": executors fetch its calls' in refused.stderr


def test_up_starts_no_tool_worker_for_it_and_the_server_knows_no_user(tmp_path: Path) -> None:
    settings = written(tmp_path, 'served_by = "http"', "[pools.shell]", 'tools = ["t:run"]')
    settings = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    started = up._commands(settings, model=None, model_port=1, flower_port=None, gateway_port=8700)
    assert [command.name for command in started] == ["tool-worker shell", "gateway"]
    users = [role.user for role in project_roles(settings)]
    assert GATEWAY in users and "errandry-pool-shell" in users and "errandry-pool-remote" not in users
