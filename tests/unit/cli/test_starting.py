"""What is started with which environment, how signals stop it, and which doors stay shut."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from pydantic import SecretStr

from queues.errors import SettingsError
from queues.settings import PoolSettings, SandboxSettings, Settings, load_settings
from workers import up
from workers.demo.folder import DemoFolderError, demo_folder
from workers.flower import serve
from workers.starter.writing import FolderInUseError, write_project
from workers.stopping import Stopped, stopping_on_signals

TOOLS = ("desk.tools:add",)
REDIS = SecretStr("redis://127.0.0.1:1/0")


def commands(settings: Settings, model: up.ModelServerChoice | None = None) -> dict[str, dict[str, str]]:
    """The environment of each process that would be started."""
    started = up._commands(settings, model=model, model_port=5554, flower_port=5555, gateway_port=8700)
    return {command.name: dict(command.env) for command in started}


def test_only_the_agent_worker_gets_the_models_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    wanting = PoolSettings(tools=("desk.tools:ask",), sandbox=SandboxSettings(secrets=("OPENAI_API_KEY",)))
    settings = Settings(
        project_dir=tmp_path,
        redis_url=REDIS,
        agents=("desk.agents:demo",),
        pools={"python": PoolSettings(tools=TOOLS), "ai": wanting},
    )
    holders = {name for name, env in commands(settings).items() if env.get("OPENAI_API_KEY") == "sk-secret"}
    assert holders == {"agent-worker", "tool-worker ai"}


def test_a_scripted_model_takes_the_place_of_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    settings = Settings(project_dir=tmp_path, redis_url=REDIS, agents=("desk.agents:demo",))
    started = commands(settings, up.ModelServerChoice(script=tmp_path / "model.toml"))
    assert list(started) == ["model-server", "agent-worker", "flower", "gateway"]
    assert started["agent-worker"]["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert not any(value == "sk-secret" for env in started.values() for value in env.values())


def test_no_password_stands_in_a_command_line(tmp_path: Path) -> None:
    settings = Settings(project_dir=tmp_path, agents=("a:b",), pools={"python": PoolSettings(tools=TOOLS)})
    settings = settings.with_redis_url("redis://:hunter2@127.0.0.1:1/0")
    for command in up._commands(settings, model=None, model_port=5554, flower_port=5555, gateway_port=8700):
        assert "hunter2" not in " ".join(command.command)
        assert command.env["ERRANDRY_REDIS_URL"] == "redis://:hunter2@127.0.0.1:1/0"


def test_each_process_gets_the_password_of_its_own_redis_user_and_no_other(tmp_path: Path) -> None:
    users = ["agents", "pool-python", "flower", "gateway", "producer"]
    (tmp_path / "users.json").write_text(json.dumps({f"errandry-{user}": f"secret-of-{user}" for user in users}))
    (tmp_path / "errandry.toml").write_text('redis_users = "users.json"')
    settings = load_settings(
        tmp_path, redis_url=REDIS.get_secret_value(), agents=("a:b",), pools={"python": {"tools": TOOLS}}
    )
    started = commands(settings)
    for process, user in {
        "agent-worker": "agents",
        "tool-worker python": "pool-python",
        "flower": "flower",
        "gateway": "gateway",
    }.items():
        environment = started[process]
        assert environment["ERRANDRY_REDIS_URL"] == f"redis://errandry-{user}:secret-of-{user}@127.0.0.1:1/0"
        assert [value for value in environment.values() if "secret-of" in value] == [environment["ERRANDRY_REDIS_URL"]]


def test_a_project_without_anything_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match="lists no agents and no pools"),
        up.running(Settings(project_dir=tmp_path), on_line=lambda *_: None, flower_port=None, gateway_port=None),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_and_later_ones_do_not_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    cleaned = []
    with pytest.raises(Stopped) as stopped, stopping_on_signals():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)
            cleaned.append("up")
    assert cleaned == ["up"]
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_flower_beyond_this_machine_needs_a_password(address: str, tmp_path: Path) -> None:
    settings = Settings(project_dir=tmp_path)
    with pytest.raises(SettingsError, match="--basic-auth USER:PASSWORD"):
        serve(settings, address=address, port=5555, basic_auth=(), on_ready=lambda _: None)
    with pytest.raises(SettingsError, match="neither of them empty"):
        serve(settings, address=address, port=5555, basic_auth=("me:",), on_ready=lambda _: None)


def test_one_demo_per_folder_and_a_fresh_project_each_time(tmp_path: Path) -> None:
    with demo_folder(tmp_path) as folder:
        assert (folder / "desk" / "tools.py").is_file()
        assert (folder.parent / ".gitignore").read_text(encoding="utf-8") == "*\n"
        (folder / "left-over").mkdir()
        with pytest.raises(DemoFolderError, match="Another demo runs in"), demo_folder(tmp_path):
            pass
    with demo_folder(tmp_path) as folder:
        assert not (folder / "left-over").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".errandry").write_text("a file", encoding="utf-8")
    with (
        pytest.raises(DemoFolderError, match=r"cannot use .* start it in a folder that you may write to"),
        demo_folder(tmp_path),
    ):
        pass


def test_a_new_project_goes_into_an_empty_folder_or_a_fresh_repository(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (folder / ".git").mkdir(parents=True)
    written = write_project(folder)
    assert sorted(str(path.relative_to(folder)) for path in written) == [
        "README.md", "errandry.toml", "model.toml", "support/__init__.py", "support/agents.py", "support/tools.py",
    ]  # fmt: skip
    with pytest.raises(FolderInUseError, match=r"README\.md"):
        write_project(folder)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FolderInUseError, match="name another folder"):
        write_project(tmp_path / "file")
