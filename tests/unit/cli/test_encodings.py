"""Output that is not UTF-8: nothing fails, what people read is replaced, what machines read stays whole."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from workers import encodings, terminal


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "ends here… ▶ now", b"ends here... > now"),
        ("ascii", "größer 数", b"gr??er ?"),
        ("latin-1", "größer… 数", "größer... ?".encode("latin-1")),
        ("utf-8", "größer…", "größer…".encode()),
        ("utf-8", "a name \udcff", b"a name ?"),
    ],
)
def test_what_an_encoding_lacks_is_replaced(
    encoding: str, text: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    encodings.forgive_output()
    sys.stdout.write(text)
    assert raw.getvalue() == written


def test_json_is_whole_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(terminal, "console", lambda: Console(file=file))
    terminal.print_json('{"text": "größer…"}')
    assert json.loads(raw.getvalue()) == {"text": "größer…"}


@pytest.mark.parametrize("page", [[], ["submit"], ["runs"], ["show"], ["init"], ["dead", "requeue"]])
def test_help_can_be_read_without_utf8(page: list[str]) -> None:
    environment = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", *page, "--help"], capture_output=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert b"Example: errandry" in done.stdout or not page
    assert done.stdout.isascii()


def test_a_reader_who_leaves_is_no_failure_of_ours() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "workers.cli", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
