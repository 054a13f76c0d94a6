"""What is allowed behind the wall of one pool, as its table in the file spells it.

It never opens a sandbox; it refuses what contradicts itself, with a sentence that names the keys and the way out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from queues.settings_mounts import Mount, parse_mount
from queues.settings_secrets import Secrets, Variables, looks_secret
from queues.settings_values import Domains, Paths, Ports, Section, VariableNames

DEFAULT_PORTS = (443, 80)
# Set by the sandbox where the network is an allowlist; whoever sets one as well points past the proxy.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def _read_only(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        parse_mount(entry)
    return entries


def _read_write(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        parse_mount(entry, writable=True)
    return entries


def _folders(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        if ":" in entry:
            raise ValueError(f'is "{entry}"; a place other than its own belongs into read_only, as "path:place"')
        parse_mount(entry)
    return entries


def _filter_name(value: str) -> str:
    if value not in ("default", "strict") and not value.startswith("/"):
        raise ValueError(f'is "{value}"; write "default", "strict" or the absolute path of a compiled filter')
    return value


class SandboxSettings(Section):
    """What is allowed behind the wall of one pool."""

    backend: Literal["auto", "bubblewrap", "container", "process", "none"] = "auto"
    level: Literal["strict", "ns", "shared", "landlock", "seatbelt", "none"] = "strict"
    network: Literal["none", "allowlist", "host"] = "none"
    allow_domains: Domains = ()
    allow_ports: Ports = DEFAULT_PORTS
    allow_private: bool = False
    memory_mb: int = Field(default=256, ge=16)
    cpu_seconds: float = Field(default=10, gt=0)
    wall_seconds: float = Field(default=30, gt=0)
    pids: int = Field(default=64, ge=1)
    output_kb: int = Field(default=1024, ge=1)
    stdout_kb: int = Field(default=16, ge=1)
    disk_mb: int = Field(default=64, ge=1)
    inodes: int = Field(default=16384, ge=64)
    file_mb: int | None = Field(default=None, ge=1)
    open_files: int = Field(default=256, ge=16)
    noexec: bool = False
    read_only: Annotated[Paths, AfterValidator(_read_only)] = ()
    read_write: Annotated[Paths, AfterValidator(_read_write)] = ()
    python_path: Annotated[Paths, AfterValidator(_folders)] = ()
    workspace_mb: int = Field(default=0, ge=0)
    workspace_dir: Path | None = None
    env: VariableNames = ("LANG",)
    set_env: Variables = Field(default_factory=dict)
    secrets: Secrets = Field(default_factory=dict)
    uid: int | None = Field(default=None, ge=1, le=2**32 - 2)
    seccomp: Annotated[str, AfterValidator(_filter_name)] = "default"
    landlock: Literal["auto", "require", "off"] = "auto"
    proc: Literal["fresh", "none"] = "fresh"
    init: bool = False
    spares: int = Field(default=2, ge=0, le=64)
    recycle_after: int = Field(default=1000, ge=1)
    image: str | None = Field(default=None, min_length=1)
    runtime: str | None = Field(default=None, min_length=1)

    @property
    def least_level(self) -> Literal["ns", "shared", "landlock", "seatbelt", "none"]:
        """The least wall that this pool takes; "strict" is another word for "ns"."""
        return "ns" if self.level == "strict" else self.level

    @property
    def largest_file_mb(self) -> int:
        """How large one file may grow: as said, otherwise as large as the room that there is."""
        return self.file_mb if self.file_mb is not None else max(self.disk_mb, self.workspace_mb)

    @property
    def of_the_wall(self) -> tuple[str, ...]:
        """The keys that are not as they are by default and mean nothing where no sandbox of ours is."""
        without = {"wall_seconds": self.wall_seconds, "output_kb": self.output_kb}
        bare = dict(type(self)(**without))
        return tuple(key for key, value in self if value != bare[key])

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The entries of `read_only` and `read_write`, those to be read first."""
        only = [parse_mount(entry) for entry in self.read_only]
        return (*only, *(parse_mount(entry, writable=True) for entry in self.read_write))

    @model_validator(mode="after")
    def _network_agrees(self) -> Self:
        if self.network == "allowlist":
            self._allowlist_agrees()
        elif self.allow_domains or self.allow_private or self.allow_ports != DEFAULT_PORTS:
            key = "allow_domains" if self.allow_domains else "allow_private" if self.allow_private else "allow_ports"
            raise ValueError(
                f'has {key}, which means something with network = "allowlist" only, but network is "{self.network}"; '
                f'set network = "allowlist" or remove {key}'
            )
        return self

    def _allowlist_agrees(self) -> None:
        if not self.allow_domains:
            raise ValueError(
                'has network = "allowlist" without allow_domains, so nothing could be reached; list the domains, as in '
                'allow_domains = ["example.com"], or set network = "none"'
            )
        if self.least_level == "none" or self.backend in ("process", "none"):
            key = f'level = "{self.level}"' if self.least_level == "none" else f'backend = "{self.backend}"'
            raise ValueError(
                f'has network = "allowlist" with {key}: without a network namespace nothing keeps a tool to the list; '
                'ask for level = "ns", or spell out network = "host"'
            )
        set_twice = [name for name in (*self.set_env, *self.env, *self.secrets) if name.upper() in PROXY_VARIABLES]
        if set_twice:
            raise ValueError(
                f'names {set_twice[0]}, which network = "allowlist" sets itself; remove {set_twice[0]} from env, '
                "set_env and secrets"
            )

    @model_validator(mode="after")
    def _variables_agree(self) -> Self:
        for name in self.secrets:
            for key, names in (("env", self.env), ("set_env", tuple(self.set_env))):
                if name in names:
                    raise ValueError(
                        f"lists {name} in secrets and in {key}; leave it in secrets alone, where its value is redacted"
                    )
        for name, value in self.set_env.items():
            if name in self.env:
                raise ValueError(f"lists {name} in env and in set_env; remove one of them")
            if looks_secret(name, value):
                raise ValueError(
                    f"sets {name} in set_env, and that looks like a secret: take it out of the file and refer to it, "
                    f'as in secrets = {{{name} = "env:{name}"}}'
                )
            if "\0" in value:
                raise ValueError(f"sets {name} in set_env to a text with a NUL byte, which no environment can hold")
        return self

    @model_validator(mode="after")
    def _wall_agrees(self) -> Self:
        if self.backend == "container" and self.image is None:
            raise ValueError('has backend = "container" without image; name an image that holds Python and your tools')
        for key, value in (("image", self.image), ("runtime", self.runtime)):
            if value is not None and self.backend != "container":
                raise ValueError(
                    f'has {key}, which means something with backend = "container" only; set that or remove {key}'
                )
        if self.landlock == "off" and self.least_level == "landlock":
            raise ValueError(
                'has landlock = "off" with level = "landlock", whose wall is Landlock; remove landlock = "off"'
            )
        return self

    @model_validator(mode="after")
    def _workspace_agrees(self) -> Self:
        if self.workspace_mb >= self.memory_mb:
            raise ValueError(
                f"has workspace_mb = {self.workspace_mb} with memory_mb = {self.memory_mb}: a workspace lies in the "
                "call's memory while it is used; raise memory_mb above it"
            )
        if self.workspace_dir is not None and (not self.workspace_mb or not self.workspace_dir.is_absolute()):
            raise ValueError(
                "has workspace_dir, which is an absolute path and means something together with workspace_mb only; set "
                "workspace_mb or remove workspace_dir"
            )
        return self

    @model_validator(mode="after")
    def _mounts_agree(self) -> Self:
        taken: dict[str, Mount] = {}
        for mount in self.mounts:
            other = taken.get(mount.place)
            if other is not None:
                raise ValueError(
                    f'mounts "{other.source}" and "{mount.source}" on the same place {mount.place}; give one of them '
                    "another place or remove it"
                )
            taken[mount.place] = mount
        return self


def refuse_exposure(pool: str, sandbox: SandboxSettings, *, project_dir: Path, state_dir: Path) -> None:
    """Raises ValueError where a pool's paths would give its tools the project to rewrite, or somebody's secrets."""
    project, state = _normal(project_dir), _normal(state_dir)
    workspaces = _normal(sandbox.workspace_dir) if sandbox.workspace_dir is not None else state
    for mount in sandbox.mounts:
        source = _normal(project_dir / mount.source)
        listed = f'pools.{pool}.sandbox.{"read_write" if mount.writable else "read_only"} lists "{mount.source}"'
        # The agents' code lies in the project too, and whoever rewrites that runs where the model's key is.
        if mount.writable and project.is_relative_to(source):
            raise ValueError(
                f"{listed}, with which tools could rewrite the project itself; list a folder inside it that holds no "
                "code"
            )
        if source.is_relative_to(state) or source.is_relative_to(workspaces):
            raise ValueError(
                f"{listed}, which is part of the product's own state; tools are never shown that, so remove it"
            )
        if sandbox.workspace_dir is not None and workspaces.is_relative_to(source):
            raise ValueError(f"{listed}, which holds workspace_dir with the workspaces of all runs; move one of them")
    if workspaces.is_relative_to(project) and not workspaces.is_relative_to(state):
        raise ValueError(
            f"pools.{pool}.sandbox.workspace_dir lies in the project, which every tool can read; move it outside"
        )
    for name, reference in sandbox.secrets.items():
        file = _normal(Path(reference.removeprefix("file:")))
        hidden = file.is_relative_to(state) or file.name.startswith(".env")
        if reference.startswith("file:") and file.is_relative_to(project) and not hidden:
            raise ValueError(
                f"pools.{pool}.sandbox.secrets.{name} is a file in the project, where every tool can read it; move it "
                "to a folder outside"
            )


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))
