"""The sandbox's table: what each key becomes, and the sentence for everything that contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from queues.errors import SettingsError
from queues.settings import SandboxSettings, Settings, load_settings
from queues.settings_mounts import Mount

POOL = '[pools.shell]\ntools = ["a:b"]\n[pools.shell.sandbox]\n'
ALLOWLIST = 'network = "allowlist"\nallow_domains = ["example.com"]\n'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ERRANDRY_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def written(folder: Path, table: str) -> Path:
    file = folder / "errandry.toml"
    file.write_text(POOL + table, encoding="utf-8")
    return file


def refused(folder: Path, table: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(folder, table))
    return str(caught.value)


def test_every_key_of_the_table_arrives(tmp_path: Path) -> None:
    table = """
    backend = "bubblewrap"
    level = "shared"
    network = "allowlist"
    allow_domains = ["API.example.com.", "*.example.org", "192.0.2.7", "[2001:db8::1]"]
    allow_ports = [443, 8443]
    allow_private = true
    stdout_kb = 8
    inodes = 1000
    file_mb = 2
    open_files = 32
    noexec = true
    read_only = ["words", "/data/models:/models"]
    read_write = ["spool:/spool"]
    python_path = ["lib"]
    workspace_mb = 16
    workspace_dir = "/srv/workspaces"
    set_env = {TZ = "UTC", TOKENIZERS_PARALLELISM = "false"}
    secrets = {API_TOKEN = "env:PROD_TOKEN", KEY = "file:/run/secrets/key"}
    uid = 2000
    seccomp = "strict"
    landlock = "require"
    proc = "none"
    init = true
    spares = 0
    recycle_after = 10
    """
    sandbox = load_settings(written(tmp_path, table)).pools["shell"].sandbox
    assert sandbox.least_level == "shared"
    assert sandbox.allow_domains == ("api.example.com", "*.example.org", "192.0.2.7", "2001:db8::1")
    assert (sandbox.allow_ports, sandbox.allow_private) == ((443, 8443), True)
    assert sandbox.mounts == (
        Mount("words", "words"),
        Mount("/data/models", "/models"),
        Mount("spool", "/spool", writable=True),
    )
    assert sandbox.secrets == {"API_TOKEN": "env:PROD_TOKEN", "KEY": "file:/run/secrets/key"}
    assert sandbox.set_env == {"TZ": "UTC", "TOKENIZERS_PARALLELISM": "false"}
    assert (sandbox.largest_file_mb, sandbox.workspace_mb, sandbox.uid) == (2, 16, 2000)


def test_defaults() -> None:
    sandbox = SandboxSettings()
    assert (sandbox.backend, sandbox.level, sandbox.least_level) == ("auto", "strict", "ns")
    assert (sandbox.network, sandbox.allow_domains, sandbox.allow_ports) == ("none", (), (443, 80))
    assert (sandbox.workspace_mb, sandbox.largest_file_mb, sandbox.spares, sandbox.recycle_after) == (0, 64, 2, 1000)
    assert (sandbox.secrets, sandbox.set_env, sandbox.mounts) == ({}, {}, ())
    assert SandboxSettings(disk_mb=8, workspace_mb=32).largest_file_mb == 32


@pytest.mark.parametrize(
    "listed", [["A_TOKEN", "B"], "A_TOKEN, B", '["A_TOKEN", "B"]', '{"A_TOKEN": "env:A_TOKEN", "B": "env:B"}']
)
def test_secrets_are_references_however_they_are_listed(listed: object) -> None:
    assert SandboxSettings.model_validate({"secrets": listed}).secrets == {"A_TOKEN": "env:A_TOKEN", "B": "env:B"}


def test_a_child_gets_equal_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ALLOWLIST + 'secrets = {A = "file:/run/a"}\nset_env = {low_Case = "x"}\nread_write = ["spool:/spool"]\n'
    parent = load_settings(written(tmp_path, table))
    for name, value in parent.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == parent
    assert json.loads(parent.as_environment()["ERRANDRY_POOLS"])["shell"]["sandbox"]["set_env"] == {"low_Case": "x"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('network = "allowlist"', 'has network = "allowlist" without allow_domains'),
        ('allow_domains = ["example.com"]', 'has allow_domains, which means something with network = "allowlist" only'),
        (
            'network = "host"\nallow_private = true',
            'has allow_private, which means something with network = "allowlist"',
        ),
        ("allow_ports = [80]", 'has allow_ports, which means something with network = "allowlist"'),
        (ALLOWLIST + 'level = "none"', 'has network = "allowlist" with level = "none": without a network namespace'),
        (ALLOWLIST + 'level = "landlock"\nbackend = "process"', 'has network = "allowlist" with backend = "process"'),
        (ALLOWLIST + 'set_env = {https_proxy = "x"}', "names https_proxy, which network"),
        ('secrets = ["A"]\nenv = ["A"]', "lists A in secrets and in env; leave it in secrets alone"),
        ('secrets = ["A"]\nset_env = {A = "x"}', "lists A in secrets and in set_env; leave it in secrets"),
        ('env = ["A"]\nset_env = {A = "x"}', "lists A in env and in set_env; remove one"),
        ('set_env = {GITHUB_TOKEN = "hush"}', "sets GITHUB_TOKEN in set_env, and that looks like a secret"),
        ('set_env = {SOME_DSN = "pg://me:hush@host/db"}', "sets SOME_DSN in set_env, and that looks like a secret"),
        ('backend = "container"', 'has backend = "container" without image'),
        ('image = "python:3"', 'has image, which means something with backend = "container" only'),
        ('runtime = "podman"', 'has runtime, which means something with backend = "container" only'),
        ('landlock = "off"\nlevel = "landlock"', 'has landlock = "off" with level = "landlock"'),
        ("workspace_mb = 256", "has workspace_mb = 256 with memory_mb = 256: a workspace lies in the call's memory"),
        ('workspace_dir = "/srv/w"', "has workspace_dir, which is an absolute path and means something together"),
        ('workspace_dir = "w"\nworkspace_mb = 8', "has workspace_dir, which is an absolute path and means"),
        ('read_only = ["a:/x", "b:/x"]', 'mounts "a" and "b" on the same place /x'),
    ],
)
def test_contradictions_name_the_keys_and_the_way_out(table: str, said: str, tmp_path: Path) -> None:
    sentence = refused(tmp_path, table)
    assert sentence.startswith(f"{tmp_path}/errandry.toml: pools.shell.sandbox {said}")
    assert "hush" not in sentence
    assert sentence.count("\n") == 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('network = "allowlist"\nallow_domains = ["https://example.com"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["*"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["a.*.com"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["example.com:80"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["10.0.0.0/8"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["127.1"]', "allow_domains[0] is"),
        ('network = "allowlist"\nallow_domains = ["a.com", "A.com."]', 'allow_domains lists "a.com" twice'),
        (ALLOWLIST + "allow_ports = [70000]", "allow_ports[0] "),
        (ALLOWLIST + "allow_ports = [443, 443]", 'allow_ports lists "443" twice'),
        ('env = ["ERRANDRY_REDIS_URL"]', "env[0] names ERRANDRY_REDIS_URL, but ERRANDRY_ variables are"),
        ('set_env = {errandry_x = "1"}', "set_env.errandry_x names errandry_x, but ERRANDRY_ variables are"),
        ('secrets = ["ERRANDRY_REDIS_URL"]', "secrets.ERRANDRY_REDIS_URL names ERRANDRY_REDIS_URL, but"),
        ('secrets = ["A", "A"]', "secrets names its entry 1 twice"),
        ('secrets = {A = "hush"}', "secrets.A must say where the secret is found, never what it is"),
        ('secrets = {A = "env:hush hush"}', "secrets.A must say where"),
        ('secrets = {A = "file:hush"}', "secrets.A must say where"),
        ("secrets = {A = 4711}", "secrets.A must say where"),
        ("secrets = 4711", "secrets must be a table"),
        ("set_env = {A = 4711}", "set_env.A must be text in quotes"),
        ('seccomp = "soft"', 'seccomp is "soft"; write "default", "strict" or'),
        ("uid = 0", "uid must be 1 or more"),
        ("spares = -1", "spares must be 0 or more"),
        ("recycle_after = 0", "recycle_after must be 1 or more"),
        ('python_path = ["a:/b"]', 'python_path is "a:/b"; a place other than its own belongs into read_only'),
        ('read_only = ["/"]', 'read_only names "/", which no tool may see'),
        ('read_only = ["/usr/../proc/self"]', 'read_only names "/usr/../proc/self", which no tool may see'),
        ('read_only = ["a:b"]', 'read_only puts something at "b"; the place inside is an absolute path'),
        ('read_only = ["a:/etc/ssl"]', 'read_only puts something at "/etc/ssl", which is the sandbox'),
        ('read_only = ["a:/workspace"]', 'read_only puts something at "/workspace", which is the sandbox'),
        ('read_only = ["a:/x:/y"]', 'read_only is "a:/x:/y"; write "path", or'),
        ('read_write = ["/usr/local"]', 'read_write names "/usr/local", which is the system'),
        ('read_write = ["/var/../etc"]', 'read_write names "/var/../etc", which is the system'),
        ('read_write = ["//etc"]', 'read_write names "//etc", which is the system'),
        ('read_write = ["/home"]', 'read_write names "/home", which is the system'),
    ],
)
def test_each_mistake_names_the_key_and_the_way_out(table: str, said: str, tmp_path: Path) -> None:
    sentence = refused(tmp_path, table)
    assert f"{tmp_path}/errandry.toml: pools.shell.sandbox.{said}" in sentence
    assert sentence.count("\n") == 0
    assert "hush" not in sentence
    assert "4711" not in sentence


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('read_write = ["."]', 'read_write lists ".", with which tools could rewrite the project itself'),
        ('read_write = ["data/.."]', "with which tools could rewrite the project itself"),
        ('read_write = [".."]', "with which tools could rewrite the project itself"),
        ('read_write = ["%s:/x"]', "with which tools could rewrite the project itself"),
        ('read_write = [".errandry/spool"]', "which is part of the product's own state"),
        ('read_only = ["./.errandry"]', "which is part of the product's own state"),
        ('workspace_mb = 8\nworkspace_dir = "%s/w"', "sandbox.workspace_dir lies in the project, which every tool"),
        ('workspace_mb = 8\nworkspace_dir = "/w"\nread_only = ["/w/x:/x"]', "part of the product's own state"),
        ('workspace_mb = 8\nworkspace_dir = "/w/x"\nread_only = ["/w:/x"]', "which holds workspace_dir with the"),
        ('secrets = {A = "file:%s/token"}', "secrets.A is a file in the project, where every tool can read it"),
    ],
)
def test_no_pool_is_given_the_project_to_rewrite_or_its_state(table: str, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, table.replace("%s", str(tmp_path)))


def test_folders_in_the_project_and_hidden_files_are_fine(tmp_path: Path) -> None:
    table = f'read_write = ["data"]\nread_only = [".."]\nsecrets = {{A = "file:{tmp_path}/.env.key"}}'
    assert load_settings(written(tmp_path, table)).pools["shell"].sandbox.read_write == ("data",)


def test_a_sandbox_is_checked_without_a_file_as_well() -> None:
    bad: dict[str, Any] = {"network": "allowlist"}
    with pytest.raises(ValidationError, match="without allow_domains"):
        SandboxSettings.model_validate(bad)
    with pytest.raises(ValidationError, match="rewrite the project"):
        Settings.model_validate({"pools": {"x": {"tools": ["a:b"], "sandbox": {"read_write": [str(Path.cwd())]}}}})
