"""API keys in their file: made once, kept as hashes, revoked, and noticed by who runs already."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from queues.errors import SettingsError
from workers.gateway.api_keys import ApiKeyError, ApiKeys, create_key, looks_like_a_key, read_keys, revoke_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "api-keys.json"


def test_a_key_is_kept_as_a_hash_in_a_private_file(file: Path) -> None:
    token = create_key(file, "shop", roles=["submit", "read"], pools=["shell"])
    assert looks_like_a_key(token)
    assert token not in file.read_text() and token.removeprefix("ek_") not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    (key,) = read_keys(file)
    assert (key.name, key.roles) == ("shop", ("submit", "read", "pool:shell"))
    assert [entry.name for entry in file.parent.iterdir() if "draft" in entry.name] == []


def test_each_key_is_recognised_and_no_other(file: Path) -> None:
    tokens = {name: create_key(file, name, roles=["read"]) for name in ("one", "two", "three")}
    keys = ApiKeys(file, required=False)
    for name, token in tokens.items():
        holder = keys.holder_of(token)
        assert holder is not None and holder.name == name
    assert len(set(tokens.values())) == 3
    for wrong in ("", tokens["one"][:-1], tokens["one"] + "x", tokens["one"].upper(), "ek_" + "a" * 43, "é\udc80"):
        assert keys.holder_of(wrong) is None


def test_what_changes_is_noticed_by_who_runs(file: Path) -> None:
    keys = ApiKeys(file, required=False)
    assert not keys.are_required
    token = create_key(file, "late", roles=["read"])
    assert keys.holder_of(token) is None
    keys.refresh()
    assert keys.are_required and keys.holder_of(token) is not None
    revoke_key(file, "late")
    keys.refresh()
    assert keys.are_required and keys.holder_of(token) is None


def test_a_place_that_cannot_be_looked_at_is_told_of_as_such(file: Path) -> None:
    create_key(file, "one", roles=["read"])
    with pytest.raises(SettingsError, match="cannot be looked at"):
        ApiKeys(file / "below-a-file", required=False)


def test_a_file_that_is_gone_opens_no_door(file: Path) -> None:
    token = create_key(file, "one", roles=["read"])
    keys = ApiKeys(file, required=False)
    file.unlink()
    keys.refresh()
    assert keys.are_required and keys.holder_of(token) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{"name": "x"}]}', '{"keys": 3}', '{"keys": [7]}'])
def test_a_file_that_cannot_be_read_is_refused_and_nobody_let_in(file: Path, content: str) -> None:
    token = create_key(file, "one", roles=["read"])
    keys = ApiKeys(file, required=False)
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"api-keys\.json cannot be read"):
        keys.refresh()
    assert keys.holder_of(token) is None
    with pytest.raises(SettingsError):
        keys.refresh()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    create_key(file, "one", roles=["read"])
    file.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        ApiKeys(file, required=False)


@pytest.mark.parametrize(
    ("name", "roles", "pools", "sentence"),
    [
        ("one", ["read"], [], "there is a key 'one' already"),
        ("two", [], [], "a key without roles opens nothing"),
        ("two", ["admin"], [], "there is no role admin; the roles are submit, read, operate, answer"),
        ("", ["read"], [], "is no name for a key"),
        ("a b", ["read"], [], "is no name for a key"),
        ("x" * 65, ["read"], [], "is no name for a key"),
    ],
)
def test_what_cannot_be_made_is_refused_and_changes_nothing(
    file: Path, name: str, roles: list[str], pools: list[str], sentence: str
) -> None:
    create_key(file, "one", roles=["read"])
    before = file.read_text()
    with pytest.raises(ApiKeyError, match=sentence):
        create_key(file, name, roles=roles, pools=pools)
    assert file.read_text() == before


def test_who_is_not_there_cannot_be_revoked(file: Path) -> None:
    create_key(file, "one", roles=["read"])
    with pytest.raises(ApiKeyError, match="there is no key 'two'; there are: one"):
        revoke_key(file, "two")


def test_keys_made_at_the_same_time_are_all_kept(file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda number: create_key(file, f"key{number}", roles=["read"]), range(24)))
    keys = ApiKeys(file, required=True)
    assert {holder.name for token in tokens if (holder := keys.holder_of(token))} == {f"key{n}" for n in range(24)}
    assert len(json.loads(file.read_text())["keys"]) == 24
