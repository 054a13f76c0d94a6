"""The settings of pools whose calls a person approves."""

from __future__ import annotations

from pathlib import Path

import pytest

from queues.errors import SettingsError
from queues.settings import load_settings

POOL = '[pools.shell]\ntools = ["support.tools:shell"]\n'


def written(folder: Path, text: str) -> Path:
    (folder / "errandry.toml").write_text(POOL + text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "approval", "seconds"),
    [("", False, None), ("approval = true\n", True, None), ("approval = true\napproval_seconds = 90\n", True, 90)],
)
def test_a_pool_asks_only_if_told_to(tmp_path: Path, text: str, approval: bool, seconds: float | None) -> None:
    pool = load_settings(written(tmp_path, text)).pools["shell"]
    assert (pool.approval, pool.approval_seconds) == (approval, seconds)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("approval_seconds = 90\n", "pools.shell has approval_seconds without approval = true; add that, or take"),
        ("approval = true\napproval_seconds = 0\n", "pools.shell.approval_seconds must be greater than 0"),
        ("aproval = true\n", "pools.shell.aproval is not a setting; did you mean approval?"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=r"errandry\.toml: ") as refused:
        load_settings(written(tmp_path, text))
    assert sentence in str(refused.value)
