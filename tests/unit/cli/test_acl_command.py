"""`errandry acl`: rules with hashes, passwords made once and kept, and told only to whoever asks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from workers.cli import main

PROJECT = '[pools.shell]\ntools = ["desk.tools:add"]\n'
USERS = ["agents", "pool-shell", "producer", "gateway", "flower", "operator", "scaler"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "errandry.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def passwords(file: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(file.read_text())
    return found


def digest(password: str) -> str:
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def test_passwords_are_made_once_for_their_owner_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acl"]) == 0
    first = capsys.readouterr()
    file = project / ".errandry" / "redis-users.json"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    made = passwords(file)
    assert list(made) == [f"errandry-{user}" for user in USERS]
    assert len(set(made.values())) == len(USERS) and min(map(len, made.values())) >= 32
    assert str(file) in first.err
    assert main(["acl"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and again.err == ""
    assert not [secret for secret in made.values() if secret in first.out + first.err + again.out]
    for line, (user, secret) in zip(first.out.splitlines(), made.items(), strict=True):
        assert line.startswith(f"user {user} reset on sanitize-payload {digest(secret)} resetchannels resetkeys -@all ")


def test_a_new_pool_gets_a_user_and_the_others_keep_theirs(project: Path) -> None:
    main(["acl"])
    before = passwords(project / ".errandry" / "redis-users.json")
    (project / "errandry.toml").write_text(PROJECT + '[pools.web]\ntools = ["desk.web:fetch"]\n')
    assert main(["acl"]) == 0
    after = passwords(project / ".errandry" / "redis-users.json")
    assert after.items() - before.items() == {("errandry-pool-web", after["errandry-pool-web"])}


def test_passwords_are_shown_to_whoever_asks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acl", "--passwords", "mine.json", "--json"]) == 0
    secrets = passwords(project / "mine.json")
    plain = capsys.readouterr().out
    assert not [secret for secret in secrets.values() if secret in plain]
    assert main(["acl", "--passwords", "mine.json", "--json", "--show-passwords"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {user["user"]: user["password"] for user in told["users"]} == secrets
    assert main(["acl", "--passwords", "mine.json", "--show-passwords"]) == 0
    output = capsys.readouterr()
    assert not [secret for secret in secrets.values() if secret in output.out]
    assert all(secret in output.err for secret in secrets.values())


def test_a_password_of_the_environment_counts_and_is_not_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRANDRY_REDIS_PASSWORD_POOL_SHELL", "hunter2")
    assert main(["acl", "--form", "setuser"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"ACL SETUSER errandry-pool-shell reset on sanitize-payload {digest('hunter2')} " in "\n".join(lines)
    assert "errandry-pool-shell" not in passwords(project / ".errandry" / "redis-users.json")


def test_the_rules_are_for_the_database_of_the_url(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRANDRY_REDIS_URL", "redis://somewhere/3")
    assert main(["acl"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert "+select|3" in line and "/0." not in line


@pytest.mark.parametrize("content", ["{", "[]", '{"errandry-agents": 1}', '{"errandry-agents": ""}'])
def test_a_file_that_is_none_is_named(project: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "users.json").write_text(content)
    assert main(["acl", "--passwords", "users.json"]) == 2
    assert "users.json" in capsys.readouterr().err
