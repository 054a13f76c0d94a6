"""The gateway's table of the settings: where it listens, where its API keys lie, how much it takes, how it
posts to webhooks.

It never opens the file of keys.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from queues.settings_secrets import SecretReference
from queues.settings_values import Section


class GatewaySettings(Section):
    """`[gateway]`. On any host but this machine's own, API keys are obligatory."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    api_keys: Path = Path(".errandry/api-keys.json")
    max_body_kb: int = Field(default=2048, ge=1)
    webhook_secret: SecretReference | None = None
    webhook_allow_private: bool = False

    @field_validator("host")
    @classmethod
    def _named(cls, host: str) -> str:
        # An empty host would mean every address of the machine.
        if not host.strip():
            raise ValueError('is empty; write an address, as "127.0.0.1", or "0.0.0.0" for all of this machine')
        return host.strip()


def is_own_machine(host: str) -> bool:
    """Whether only programs of this machine can reach what listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
