"""Settings: what is found, what wins, and the sentence for everything that can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from queues.errors import SettingsError
from queues.settings import PoolSettings, SandboxSettings, Settings, load_settings

WHOLE = """
redis_url = "redis://:hush@127.0.0.1:6390/0"
agents = ["support.agents:ops"]
[pools.shell]
tools = ["support.tools:execute_shell_command", "support.tools:ShellTools"]
concurrency = 2
live_output = true
[pools.shell.sandbox]
memory_mb = 128
env = ["LANG", "TZ"]
secrets = ["API_TOKEN"]
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ERRANDRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str, name: str = "errandry.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def refused(path: Path, **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, **overrides)
    assert caught.value.__cause__ is None or "hush" not in str(caught.value.__cause__)
    return str(caught.value)


def test_every_key_of_the_file_arrives(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, WHOLE))
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:hush@127.0.0.1:6390/0"
    assert settings.agents == ("support.agents:ops",)
    shell = settings.pools["shell"]
    assert shell.tools == ("support.tools:execute_shell_command", "support.tools:ShellTools")
    assert (shell.concurrency, shell.live_output, shell.sandbox.memory_mb) == (2, True, 128)
    assert not PoolSettings(tools=shell.tools).live_output
    assert (shell.sandbox.env, shell.sandbox.secrets) == (("LANG", "TZ"), {"API_TOKEN": "env:API_TOKEN"})
    assert settings.project_dir == tmp_path
    assert settings.state_dir == tmp_path / ".errandry"


def test_defaults_without_any_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert (settings.redis_url, settings.agents, settings.pools) == (None, (), {})
    assert settings.project_dir == tmp_path
    assert settings.config_file is None
    sandbox = SandboxSettings()
    assert (sandbox.level, sandbox.network, sandbox.memory_mb, sandbox.wall_seconds) == ("strict", "none", 256, 30)


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    write(tmp_path, "lease_seconds = 1")
    inner = tmp_path / "project" / "src"
    inner.mkdir(parents=True)
    write(tmp_path / "project", "[tool.errandry]\nlease_seconds = 2", "pyproject.toml")
    write(inner, "[tool.other]\nlease_seconds = 3", "pyproject.toml")
    settings = load_settings(inner)
    assert settings.lease_seconds == 2
    assert settings.project_dir == tmp_path / "project"
    write(tmp_path / "project", "lease_seconds = 4")
    assert load_settings(inner).lease_seconds == 4


def test_the_current_folder_is_searched_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "lease_seconds = 3")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert load_settings().lease_seconds == 3


def test_environment_wins_over_file_and_arguments_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, WHOLE)
    monkeypatch.setenv("ERRANDRY_LEASE_SECONDS", "5")
    monkeypatch.setenv("ERRANDRY_POOLS__SHELL__CONCURRENCY", "9")
    monkeypatch.setenv("ERRANDRY_POOLS__SHELL__SANDBOX__LEVEL", "ns")
    monkeypatch.setenv("ERRANDRY_REDIS_URL", "unix:///run/redis.sock")
    settings = load_settings(file, lease_seconds=6, agent_concurrency=None)
    assert settings.lease_seconds == 6
    assert settings.agent_concurrency == 20
    assert settings.pools["shell"].concurrency == 9
    assert settings.pools["shell"].sandbox.level == "ns"
    assert settings.pools["shell"].sandbox.memory_mb == 128, "the rest of the table stays"
    assert settings.redis_url == SecretStr("unix:///run/redis.sock")


@pytest.mark.parametrize("written", ["a.b:one, a.b:two", '["a.b:one", "a.b:two"]'])
def test_lists_in_the_environment(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_AGENTS", written)
    monkeypatch.setenv("ERRANDRY_POOLS__WEB__TOOLS", written.replace("a.b", "c.d"))
    settings = load_settings(tmp_path)
    assert settings.agents == ("a.b:one", "a.b:two")
    assert settings.pools["web"].tools == ("c.d:one", "c.d:two")


def test_a_table_in_the_environment_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_POOLS__WEB", '{"tools": ["a:b"], "concurrency": 3}')
    assert load_settings(tmp_path).pools["web"].concurrency == 3
    monkeypatch.setenv("ERRANDRY_POOLS", '{"other": {"tools": ["a:b"]}}')
    assert list(load_settings(tmp_path).pools) == ["other"]


def test_empty_variables_count_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_REDIS_URL", "")
    assert load_settings(tmp_path).redis_url is None


def test_a_child_gets_equal_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, WHOLE)
    monkeypatch.setenv("ERRANDRY_POOLS__SHELL__CONCURRENCY", "7")
    parent = load_settings(file, lease_seconds=3).with_redis_url("redis://:other@127.0.0.1:1/0")
    for name, value in parent.as_environment().items():
        monkeypatch.setenv(name, value)
    file.write_text("agents = []", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    child = load_settings()
    assert child == parent
    assert child.config_file == file


def test_a_child_gets_equal_settings_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Settings(project_dir=tmp_path, pools={"web": PoolSettings(tools=("a:b",))})
    for name, value in parent.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == parent


def test_the_password_is_never_shown(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, WHOLE))
    assert "hush" not in repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()


@pytest.mark.parametrize(
    "url", ["http://hush@host", "hush", "redis://:hush@", "redis://:hush@host:99999", "unix://", "redis://:hush@[::1"]
)
def test_a_bad_address_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    sentence = refused(write(tmp_path, f'redis_url = "{url}"'))
    assert sentence.startswith(f"{tmp_path}/errandry.toml: redis_url ")
    assert "redis://" in sentence
    assert "hush" not in sentence
    assert "hush" not in refused(tmp_path, redis_url=[url])


def test_settings_are_frozen_and_read_nothing_on_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_LEASE_SECONDS", "5")
    settings = Settings(project_dir=tmp_path)
    assert settings.lease_seconds == 10
    with pytest.raises(ValidationError):
        settings.lease_seconds = 1  # type: ignore[misc]


POOL = '[pools.shell]\ntools = ["a:b"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agentz = []", "agentz is not a setting; did you mean agents?"),
        ("zzz = 1", "zzz is not a setting; the keys here are redis_url, redis_users, agents, pools"),
        (POOL + "concurency = 2", "pools.shell.concurency is not a setting; did you mean concurrency?"),
        (POOL + "[pools.shell.sandbox]\nmemroy_mb = 2", "pools.shell.sandbox.memroy_mb is not a setting; did you mean"),
        (POOL + 'concurrency = "many"', "pools.shell.concurrency must be a whole number (it is 'many')"),
        (POOL + "concurrency = 0", "pools.shell.concurrency must be 1 or more (it is '0')"),
        (POOL + 'flower_details = "perhaps"', "pools.shell.flower_details must be true or false (it is 'perhaps')"),
        (POOL + "flower_details = []", "pools.shell.flower_details must be true or false"),
        (POOL + '[pools.shell.sandbox]\nlevel = "soft"', "pools.shell.sandbox.level must be 'strict', 'ns', 'shared'"),
        (POOL + '[pools.shell.sandbox]\nnetwork = "all"', "pools.shell.sandbox.network must be 'none', 'allowlist' or"),
        (POOL + "[pools.shell.sandbox]\nwall_seconds = 0", "pools.shell.sandbox.wall_seconds must be greater than 0"),
        (
            POOL + '[pools.shell.sandbox]\nsecrets = ["A=hush"]',
            "pools.shell.sandbox.secrets has as its entry 0 what",
        ),
        ('[pools.Shell]\ntools = ["a:b"]', "pools.Shell is no name for a pool; begin with a lower-case letter"),
        ("[pools.shell]\nconcurrency = 1", "pools.shell.tools is missing"),
        ("[pools.shell]\ntools = []", "pools.shell.tools is empty; list at least one tool"),
        ('[pools.shell]\ntools = ["a.b.c"]', 'pools.shell.tools[0] is "a.b.c", which is no import string'),
        ('[pools.shell]\ntools = ["a:b", "a:b"]', 'pools.shell.tools lists "a:b" twice'),
        ("[pools.shell]\ntools = 3", "pools.shell.tools must be a list"),
        (POOL + '[pools.web]\ntools = ["a:b"]', '"a:b" is listed in pools.shell.tools and in pools.web.tools; a tool'),
        ('agents = ["nothing"]', 'agents[0] is "nothing", which is no import string; write "package.module:attribute"'),
        ("pools = 3", "pools must be a table"),
        ("[pools]\nshell = 3", "pools.shell must be a table"),
    ],
)
def test_each_mistake_names_file_key_and_way_out(text: str, said: str, tmp_path: Path) -> None:
    sentence = refused(write(tmp_path, text))
    assert f"{tmp_path}/errandry.toml: {said}" in sentence
    assert sentence.count("\n") == 0
    assert "hush" not in sentence


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    sentence = refused(write(tmp_path, "agentz = []\nlease_seconds = 0"))
    assert len(sentence.splitlines()) == 2


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    assert "at line 2, column 11" in refused(write(tmp_path, "agents = []\npools = { , }"))


def test_unreadable_files(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"agents = ['\xe9']")
    assert "is not UTF-8 at byte 11" in refused(tmp_path / "latin.toml")
    assert "has no table [tool.errandry]" in refused(write(tmp_path, "", "pyproject.toml"))
    assert "must be a table" in refused(write(tmp_path, "[tool]\nerrandry = 1", "pyproject.toml"))


def test_mistakes_in_the_environment_name_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, POOL)
    monkeypatch.setenv("ERRANDRY_POOLS__SHELL__CONCURRENCY", "four")
    sentence = refused(tmp_path)
    assert sentence.startswith("environment variable ERRANDRY_POOLS__SHELL__CONCURRENCY: pools.shell.concurrency must")
    monkeypatch.setenv("ERRANDRY_POOLS__SHELL__CONCURRENCY", "4")
    monkeypatch.setenv("ERRANDRY_AGENTS", "[broken")
    assert refused(tmp_path).startswith("environment variable ERRANDRY_AGENTS: agents is not valid JSON")


def test_mistakes_in_arguments_name_the_argument(tmp_path: Path) -> None:
    assert refused(tmp_path, lease_seconds=-1).startswith("argument lease_seconds: lease_seconds must be greater")


def test_a_misspelt_variable_is_refused_and_a_strange_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRANDRY_SERVICE_HOST", "10.0.0.1")
    assert load_settings(tmp_path).redis_url is None
    monkeypatch.setenv("ERRANDRY_REDISURL", "redis://:hush@host")
    sentence = refused(tmp_path)
    assert "ERRANDRY_REDISURL sets nothing; did you mean ERRANDRY_REDIS_URL?" in sentence
    assert "hush" not in sentence


def test_the_config_variable_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_CONFIG", str(write(tmp_path, "lease_seconds = 2", "other.toml")))
    assert load_settings().lease_seconds == 2
    monkeypatch.setenv("ERRANDRY_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"gone\.toml \(from ERRANDRY_CONFIG\) does not exist"):
        load_settings()


def test_a_model_script_lies_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "errandry.toml").write_text('agents = ["m:a"]\nmodel_script = "model.toml"\n')
    assert load_settings(tmp_path).model_script_file == tmp_path / "model.toml"
    assert load_settings(tmp_path, model_script="/elsewhere.toml").model_script_file == Path("/elsewhere.toml")
