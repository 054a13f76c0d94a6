"""Which agent and which pool a project's tools belong to, and what is refused before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent_core.errors import ImportStringError
from queues.errors import SettingsError, UnknownPoolError
from queues.settings import load_settings
from workers.agents import Project, load_project

MODULE = """
from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel
from agent_core.tools import tool
from agent_core.tools.toolkit import Toolkit


class Shell(Toolkit):
    def __init__(self):
        super().__init__(tools=[self.list_dir, self.get_env], external_execution_required_tools=["list_dir"])

    def list_dir(self, directory: str) -> str:
        return directory

    def get_env(self, name: str) -> str:
        return name


@tool(external_execution=True)
def free() -> str:
    return ""


@tool(pool="other")
def named() -> str:
    return ""


@tool
def inline() -> str:
    return ""


ops = Agent(model=ScriptedModel(["done"]), tools=[Shell(), free, named, inline])
"""


def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, other: str = "named") -> Project:
    name = f"loaded_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "errandry.toml").write_text(
        f'agents = ["{name}:ops"]\n[pools.shell]\ntools = ["{name}:{shell}"]\n'
        f'[pools.other]\ntools = ["{name}:{other}"]\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return load_project(load_settings(tmp_path))


def test_of_a_toolkit_only_the_external_tools_go_to_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = project(tmp_path, monkeypatch, "Shell")
    assert loaded.routing.pools == {"list_dir": "shell", "named": "other"}
    assert list(loaded.agents) == ["ops"]


def test_a_listed_tool_that_the_agent_would_run_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="external_execution=True"):
        project(tmp_path, monkeypatch, "inline")


def test_a_pool_named_twice_in_different_ways_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="make both the same"):
        project(tmp_path, monkeypatch, "named", other="free")


def test_a_pool_that_nobody_declared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "undeclared.py").write_text(MODULE.replace('pool="other"', 'pool="nowhere"'))
    (tmp_path / "errandry.toml").write_text('agents = ["undeclared:ops"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownPoolError, match=r"add \[pools.nowhere\]"):
        load_project(load_settings(tmp_path))


def test_a_module_that_exits_on_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "errandry.toml").write_text('agents = ["leaving:ops"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportStringError, match="'leaving' raised SystemExit"):
        load_project(load_settings(tmp_path))
