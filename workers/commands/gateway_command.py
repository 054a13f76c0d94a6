"""What the command gateway does once it is asked for; imports the web framework, and nothing of Celery."""

from __future__ import annotations

import logging

from queues.acl import GATEWAY
from queues.redis_url import admitted
from queues.settings import Settings
from queues.settings_gateway import GatewaySettings
from workers.commands.log_lines import Log, start_log
from workers.gateway import server


def run_gateway(settings: Settings, *, host: str | None, port: int | None) -> None:
    """Serve the gateway until it is told to leave; what is given wins over the settings."""
    start_log(Log("gateway", "gateway", settings.log_format))
    logger = logging.getLogger("errandry")
    given = {name: value for name, value in (("host", host or None), ("port", port)) if value is not None}
    gateway = GatewaySettings.model_validate({**dict(settings.gateway), **given})
    server.serve(
        admitted(settings, GATEWAY).model_copy(update={"gateway": gateway}),
        on_ready=lambda url: logger.info("%s %s", server.READY, url),
    )
