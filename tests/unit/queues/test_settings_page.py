"""The page of settings holds each key once, with the default that it really has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from queues.settings import PoolSettings, SandboxSettings, Settings
from queues.settings_gateway import GatewaySettings

PAGE = Path(__file__).parents[3] / "deploy" / "settings.md"
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("Project", Settings),
    ("`[pools.NAME]`", PoolSettings),
    ("`[pools.NAME.sandbox]`", SandboxSettings),
    ("`[gateway]`", GatewaySettings),
]
TOLD_IN_WORDS = {"project_dir", "gateway", "sandbox", "tools"}


def described(title: str) -> dict[str, str]:
    """Key and default of each row below the heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\| .+ \|$", section, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return {name: default.strip() for name, default in rows}


@pytest.mark.parametrize(("title", "model"), SECTIONS)
def test_each_key_stands_on_the_page_with_its_default(title: str, model: type[BaseModel]) -> None:
    rows = described(title)
    assert rows.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        if name in TOLD_IN_WORDS:
            continue
        default = field.get_default(call_default_factory=True)
        assert default is not PydanticUndefined
        assert rows[name] == ("`-`" if default is None else f"`{default}`"), name
