"""Finds and reads the file of settings: errandry.toml, or [tool.errandry] in pyproject.toml.

It never judges what the keys mean; `queues.settings` does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from queues.errors import SettingsError

OWN_NAME = "errandry.toml"
SHARED_NAME = "pyproject.toml"


def find_config_file(folder: Path) -> Path | None:
    """The nearest file of settings in `folder` or above it; in one folder errandry.toml comes before pyproject.toml."""
    for place in (folder, *folder.parents):
        if (place / OWN_NAME).is_file():
            return place / OWN_NAME
        shared = place / SHARED_NAME
        if shared.is_file() and _own_table(_parsed(shared), shared) is not None:
            return shared
    return None


def read_config_file(path: Path) -> dict[str, object]:
    """The keys of the file; of a pyproject.toml only those under [tool.errandry]. Raises `SettingsError`."""
    content = _parsed(path)
    if path.name != SHARED_NAME:
        return content
    own = _own_table(content, path)
    if own is None:
        raise SettingsError(f"{path} has no table [tool.errandry]; add one, or put the settings into {OWN_NAME}.")
    return own


def no_project(folder: Path) -> str:
    """What to do where there is no file of settings, as a sentence."""
    return (
        f"no project in {folder}: there is no {OWN_NAME} there or above it. Go to the folder of a project, make one "
        "with `errandry init DIR`, or name the Redis of one in ERRANDRY_REDIS_URL"
    )


def merged(*layers: Mapping[str, object]) -> dict[str, object]:
    """One mapping of all layers; later ones win, tables are joined key by key, lists are replaced whole."""
    result: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both_tables = isinstance(below, Mapping) and isinstance(value, Mapping)
            result[key] = merged(below, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _own_table(content: Mapping[str, object], path: Path) -> dict[str, object] | None:
    tool = content.get("tool", {})
    own = tool.get("errandry") if isinstance(tool, dict) else None
    if own is not None and not isinstance(own, dict):
        raise SettingsError(f"{path}: tool.errandry must be a table; write [tool.errandry] above its keys.")
    return own


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; check its permissions.") from error
