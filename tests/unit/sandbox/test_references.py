"""Secrets by reference: where they are looked up, that a rotated one is seen, and that no sentence shows a value."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from workers.references import MOST_BYTES
from workers.sandbox.references import Secrets, SecretUnavailableError


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(reference: str, **variables: str) -> str:
    with pytest.raises(SecretUnavailableError) as caught:
        Secrets({"TOKEN": reference}, variables)()
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None or "hush" not in repr(caught.value.__cause__)
    return str(caught.value)


def test_values_are_found_under_their_references(tmp_path: Path) -> None:
    file = written(tmp_path / "key", b"from a file\r\n")
    secrets = Secrets({"A": "env:A", "B": "env:OTHER", "C": f"file:{file}"}, {"A": "a", "OTHER": "b"})
    assert secrets() == {"A": "a", "B": "b", "C": "from a file"}


def test_a_rotated_secret_is_seen_at_the_next_call(tmp_path: Path) -> None:
    file = written(tmp_path / "key", b"old")
    variables = {"A": "old"}
    secrets = Secrets({"A": "env:A", "C": f"file:{file}"}, variables)
    assert set(secrets().values()) == {"old"}
    variables["A"] = "new"
    written(tmp_path / "next", b"new").replace(file)
    assert set(secrets().values()) == {"new"}


def test_a_mounted_secret_is_a_link(tmp_path: Path) -> None:
    written(tmp_path / "..data", b"value")
    (tmp_path / "key").symlink_to("..data")
    assert Secrets({"C": f"file:{tmp_path}/key"}, {})() == {"C": "value"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert refused("env:OTHER") == (
        "The pool lists the secret TOKEN, but the worker's environment does not hold OTHER. "
        "Set OTHER where the worker is started, or take TOKEN out of the pool's secrets."
    )
    assert "does not hold TOKEN" in refused("env:TOKEN", TOKEN="")
    assert f"secret TOKEN cannot be taken from {tmp_path}/key: no such file or directory." in refused(
        f"file:{tmp_path}/key"
    )


def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    assert ": is a directory." in refused(f"file:{tmp_path}")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "it is no file" in refused(f"file:{tmp_path}/pipe")
    assert "it is empty" in refused(f"file:{written(tmp_path / 'empty', b'')}")
    assert "it is not UTF-8" in refused(f"file:{written(tmp_path / 'latin', b'hush' + bytes([0xE9]))}")
    assert "it holds a NUL byte" in refused(f"file:{written(tmp_path / 'nul', b'hush' + bytes(1))}")
    assert "it is over 64 KiB" in refused(f"file:{written(tmp_path / 'large', b'hush' * MOST_BYTES)}")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    sentence = refused(f"file:{written(tmp_path / 'key', b'hush', mode)}")
    assert "others can write to it; run chmod go-w on it" in sentence


def test_a_file_that_everybody_can_read_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets({"TOKEN": f"file:{written(tmp_path / 'key', b'hush', 0o644)}"}, {})
    with caplog.at_level(logging.WARNING):
        assert secrets() == secrets() == {"TOKEN": "hush"}
    assert [record.getMessage() for record in caplog.records] == [
        f"the secret TOKEN lies in {tmp_path}/key, which every user of this machine can read"
    ]
