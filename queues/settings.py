"""One frozen settings object: Redis, agents, and pools with their limits.

It never connects to anything; `load_settings` alone reads files and the environment, `Settings(...)` reads nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from queues.connections import Durability
from queues.errors import SettingsError
from queues.settings_file import find_config_file, merged, read_config_file
from queues.settings_gateway import GatewaySettings
from queues.settings_problems import Sources, explain, refuse_misspelt_variables
from queues.settings_sandbox import SandboxSettings, refuse_exposure
from queues.settings_values import ImportStrings, PoolName, RedisUrl, Section, decoded

__all__ = ["CONFIG_VARIABLE", "PREFIX", "PoolSettings", "SandboxSettings", "Settings", "load_settings"]

PREFIX = "ERRANDRY_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"


class PoolSettings(Section):
    """The tools that share a queue, limits and a sandbox."""

    tools: ImportStrings
    concurrency: int = Field(default=4, ge=1)
    queue_seconds: float | None = Field(default=None, gt=0)
    approval: bool = False
    approval_seconds: float | None = Field(default=None, gt=0)
    live_output: bool = False
    flower_details: bool = False
    served_by: Literal["worker", "http"] = "worker"
    sandbox: SandboxSettings = SandboxSettings()

    @field_validator("tools", mode="after")
    @classmethod
    def _some_tools(cls, tools: tuple[str, ...]) -> tuple[str, ...]:
        if not tools:
            raise ValueError('is empty; list at least one tool, as in ["package.module:tool"]')
        return tools

    @model_validator(mode="after")
    def _seconds_of_an_approval(self) -> Self:
        if self.approval_seconds is not None and not self.approval:
            raise ValueError("has approval_seconds without approval = true; add that, or take the seconds out")
        return self

    @model_validator(mode="after")
    def _what_executors_heed(self) -> Self:
        # By value: what is handed to a child process names every key.
        usual = type(self).model_fields
        idle = [
            key for key in ("concurrency", "live_output", "flower_details") if getattr(self, key) != usual[key].default
        ]
        idle += [f"sandbox.{key}" for key in self.sandbox.of_the_wall]
        if self.served_by == "http" and idle:
            raise ValueError(
                f'has {idle[0]} with served_by = "http", where nobody would heed it: executors put up their own walls; '
                "remove it (of the sandbox, wall_seconds and output_kb count)"
            )
        return self


class Settings(BaseSettings):
    """Everything that a process of the product is told from outside; never changes once built."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        enable_decoding=False,
        hide_input_in_errors=True,
    )

    redis_url: RedisUrl | None = None
    redis_users: Path | None = None
    agents: ImportStrings = ()
    pools: Annotated[dict[PoolName, PoolSettings], BeforeValidator(decoded)] = Field(default_factory=dict)
    model_script: Path | None = None
    project_dir: Path = Field(default_factory=Path.cwd)
    lease_seconds: float = Field(default=10, gt=0)
    drain_seconds: float = Field(default=20, ge=0)
    durability: Durability = "everysec"
    agent_concurrency: int = Field(default=20, ge=1)
    log_format: Literal["auto", "text", "json"] = "auto"
    beats_dir: Path | None = None
    gateway: GatewaySettings = GatewaySettings()
    _config_file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The constructor stays pure, so that a test's settings do not depend on the shell it was started from.
        return (init_settings,)

    @field_validator("beats_dir", mode="after")
    @classmethod
    def _same_for_probes(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_absolute():
            raise ValueError(f"is {folder}, which a probe in another folder would not find; write an absolute path")
        return folder

    @model_validator(mode="after")
    def _each_tool_in_one_pool(self) -> Self:
        owner: dict[str, str] = {}
        for pool, described in self.pools.items():
            for tool in described.tools:
                if tool in owner:
                    raise ValueError(
                        f'"{tool}" is listed in pools.{owner[tool]}.tools and in pools.{pool}.tools; '
                        "a tool belongs to one pool, so remove one of them"
                    )
                owner[tool] = pool
        return self

    @model_validator(mode="after")
    def _pools_fit_the_project(self) -> Self:
        for pool, described in self.pools.items():
            refuse_exposure(pool, described.sandbox, project_dir=self.project_dir, state_dir=self.state_dir)
        return self

    @property
    def config_file(self) -> Path | None:
        """The file these settings were read from, if there is one."""
        return self._config_file

    @property
    def is_project(self) -> bool:
        """Whether anything was set up here: in a file, or, as in a container, in the environment alone."""
        return self._config_file is not None or bool(self.agents or self.pools)

    @property
    def state_dir(self) -> Path:
        """Where this project's embedded server and logs live."""
        return self.project_dir / ".errandry"

    @property
    def http_pools(self) -> tuple[str, ...]:
        """The pools whose calls executors fetch over HTTP, from the gateway; they have no tool workers."""
        return tuple(name for name, pool in self.pools.items() if pool.served_by == "http")

    @property
    def model_script_file(self) -> Path | None:
        """The rules that `errandry up` has played by a scripted model while no key is set; relative to the project."""
        return self.project_dir / self.model_script if self.model_script is not None else None

    @property
    def redis_users_file(self) -> Path | None:
        """Where the passwords of the processes' Redis users lie, for a `redis_url` that names no user."""
        return self.project_dir / self.redis_users if self.redis_users is not None else None

    @property
    def api_keys_file(self) -> Path:
        """Where the gateway's API keys lie; there is no such file before the first key is made."""
        return self.project_dir / self.gateway.api_keys

    def with_redis_url(self, url: str) -> Settings:
        """The same settings for another address: that of the embedded server, or of another Redis user."""
        changed = Settings.model_validate({**dict(self), "redis_url": url, "redis_users": None})
        changed._config_file = self._config_file
        return changed

    def as_environment(self) -> dict[str, str]:
        """Variables with which `load_settings()` in a child process returns equal settings, even if the file changed.

        They hold the Redis password: hand them over as an environment, never as arguments.
        """
        environment = {CONFIG_VARIABLE: str(self._config_file or self.project_dir)}
        for key, value in self.model_dump(mode="json", exclude={"redis_url"}, exclude_none=True).items():
            environment[PREFIX + key.upper()] = value if isinstance(value, str) else json.dumps(value)
        if self.redis_url is not None:
            environment[f"{PREFIX}REDIS_URL"] = self.redis_url.get_secret_value()
        return environment


def load_settings(path: Path | None = None, **overrides: object) -> Settings:
    """The settings of the project in `path`: a file, or a folder that is searched upwards; by default the current one.

    `overrides` win over the environment, the environment wins over the file; an override of None counts as not given.
    `ERRANDRY_CONFIG` stands in for `path`. Raises `SettingsError`, which names the place, the key and the way out.
    """
    named = os.environ.get(CONFIG_VARIABLE) if path is None else None
    start = Path(named) if named else path or Path.cwd()
    if not start.exists():
        origin = f" (from {CONFIG_VARIABLE})" if named else ""
        raise SettingsError(f"{start}{origin} does not exist; name an errandry.toml or the folder of a project.")
    config_file = find_config_file(start.resolve()) if start.is_dir() else start.resolve()
    from_file = read_config_file(config_file) if config_file else {}
    base_dir = config_file.parent if config_file else start.resolve()
    refuse_misspelt_variables(os.environ, prefix=PREFIX, keys=[*Settings.model_fields, "config"])
    from_environment = EnvSettingsSource(Settings)()
    given = {key: value for key, value in overrides.items() if value is not None}
    values = merged(from_file, from_environment, given)
    values["project_dir"] = base_dir / Path(str(values.get("project_dir", ".")))
    sources = Sources(config_file=config_file, from_environment=from_environment, overrides=given, prefix=PREFIX)
    return _validated(values, sources, config_file)


def _validated(values: Mapping[str, object], sources: Sources, config_file: Path | None) -> Settings:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        # Without its cause: the cause would print the values, and one of them holds a password.
        raise SettingsError(explain(error, model=Settings, sources=sources)) from None
    settings._config_file = config_file
    return settings
