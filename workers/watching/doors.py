"""Flower's pages and API, less what would not be true or not be safe: strangers, and orders that no worker takes.

It draws no page itself; what cannot work is hidden on Flower's own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flower.api.control import ControlHandler
from flower.app import Flower
from flower.views.monitor import Metrics
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest

from workers.strangers import telling_header

_STRANGER = "Without --basic-auth Flower answers to this machine's own programs only; ask for it as localhost."

# What Flower offers, and what would come of it: it reports success of orders that are not answered at all.
_ORDERS = (
    (
        r"/api/worker/(?:pool|queue)/.+",
        "Errandry's workers keep their size and queues: set concurrency in errandry.toml, or start another worker.",
    ),
    (
        r"/api/task/(?:revoke|abort)/.+",
        "A message is only a hint, so revoking it ends nothing: end a run, with its calls, by `errandry cancel RUN`.",
    ),
    (
        r"/api/task/(?:timeout|rate-limit)/.+",
        "Errandry's workers take no limits from here: set wall_seconds and concurrency in errandry.toml.",
    ),
    (
        r"/api/task/(?:apply|async-apply|send-task)/.+",
        "A run is more than its message: submit one by `errandry submit AGENT INPUT`, or at the gateway.",
    ),
)

# Hidden on the pages, because it would be refused: see _ORDERS. Flower's own style knows no state beyond Celery's.
_STYLE = """
#worker-pool-restart, .worker-controls-panel, #tab-queues .control-group, [id^="worker-cancel-consumer"],
#tab-queues th:last-child:empty, #tab-queues td:has(> [id^="worker-cancel-consumer"]),
li:has(> #worker-tab-limits), #task-revoke, #task-terminate { display: none; }
.tasks-table tr > :is(:nth-child(2), :nth-child(4)) { overflow: hidden !important; text-overflow: ellipsis; }
.tasks-table tr > :nth-child(2) { min-width: 13rem; max-width: 13rem; }
.tasks-table tr > :nth-child(4) { min-width: 22rem; max-width: 22rem; }
.worker-pool-layout:has(> .worker-controls-panel) { grid-template-columns: 1fr; }
"""


class Doors(Flower):  # type: ignore[misc]
    """Flower for this project. `knows_callers`: whoever gets in has shown a password."""

    def __init__(self, *, knows_callers: bool, **how: Any) -> None:
        self._knows_callers = knows_callers
        super().__init__(ui_modules={"Template": _Styled}, transforms=[_Challenge] if knows_callers else [], **how)
        self.add_handlers(r".*", [(path, _RefusedOrder, {"reason": reason}) for path, reason in _ORDERS])
        self.add_handlers(r".*", [(r"/metrics", _Metrics)])

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate:
        """Flower's own, unless a page of another site asks where nobody needs a password."""
        if not self._knows_callers and telling_header(request.method or "", _lowered(request)) is not None:
            refused: HTTPMessageDelegate = self.get_handler_delegate(request, _Stranger)
            return refused
        handler: HTTPMessageDelegate = super().find_handler(request)
        return handler


def _lowered(request: HTTPServerRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.get_all()}


class _Stranger(web.RequestHandler):
    def prepare(self) -> None:
        self.set_status(HTTPStatus.FORBIDDEN)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(_STRANGER)


class _Challenge(web.OutputTransform):
    """Flower's API says 401 without saying how to get in; a browser that has the password then does not send it."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if status_code == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="flower"'
        return status_code, headers, chunk


class _Metrics(Metrics):  # type: ignore[misc]
    """Flower's figures, which name agents, tools and workers, for those who may see its pages."""

    @web.authenticated
    async def get(self) -> None:
        await super().get()


class _RefusedOrder(ControlHandler):  # type: ignore[misc]
    """Whoever may give orders hears why this one is refused."""

    def initialize(self, reason: str) -> None:
        self._reason = reason

    @web.authenticated
    def post(self) -> None:
        raise web.HTTPError(HTTPStatus.FORBIDDEN, self._reason)


class _Styled(web.TemplateModule):
    """Each page of Flower's includes a template by this module, and Tornado asks it for style to put into the head."""

    def embedded_css(self) -> str:
        return _STYLE
