'''The model server as a thing to start: in a thread of a test, or as a process of its own.

Never listens beyond this machine unless told to, and never asks for a key: whoever reaches it may use it.

    from workers.model_server.server import ModelServer

    SCRIPT = """
    [[rules]]
    match = "^Add (?P<a>[0-9]+) and (?P<b>[0-9]+)"
    calls = [{ tool = "add", arguments = { a = "{a}", b = "{b}" } }]
    """

    def test_my_agent() -> None:
        with ModelServer(SCRIPT) as server:
            agent = Agent(model=OpenAIChat(id="any", base_url=server.base_url, api_key="none"), tools=[add])
            assert agent.run("Add 2 and 3").content == "add returned: 5"
            assert len(server.requests) == 2

How scripts are written stands in `script.py`, how to ask for faults in `faults.py`.
'''

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import uvicorn

from workers.model_server.answers import Answerer
from workers.model_server.app import ChatCompletions, RecordedRequest, create_app
from workers.model_server.connections import DroppableConnection
from workers.model_server.errors import ModelServerError
from workers.model_server.local import LocalModel
from workers.model_server.script import Script, load_script, parse_script
from workers.model_server.scripted import ScriptedAnswers

START_SECONDS = 30.0


class _Server(uvicorn.Server):
    """Uvicorn's server that says when it serves."""

    def __init__(self, completions: ChatCompletions, *, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(completions),
                http=DroppableConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                # A client that comes back just as its kept connection is closed would see a fault nobody asked for.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), backlog=128)
        # A ready-made socket is served as it is; without this each whole reply waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        raise ModelServerError(f"The model server cannot listen on {host}:{port}: {error}.") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}/v1"


class ModelServer:
    """A scripted model server in a thread, for tests: serves between `with` and its end, on a free port of 127.0.0.1.

    `script` is a Script, the path of a TOML file, or TOML text. Every `with` starts with an empty record and fresh
    fault counts; leaving it closes the connections, so that the process can end.
    """

    def __init__(self, script: Script | Path | str) -> None:
        if isinstance(script, Path):
            script = load_script(script)
        elif isinstance(script, str):
            script = parse_script(script)
        self._script = script
        self._completions = ChatCompletions(ScriptedAnswers(script))
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The address for `base_url=` of a client, ending in /v1; known once the server has been started."""
        if self._base_url is None:
            raise ModelServerError(
                "The model server has no address yet; use it as `with ModelServer(script) as server`."
            )
        return self._base_url

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests, oldest first; also readable after the server has stopped."""
        return list(self._completions.requests)

    def __enter__(self) -> Self:
        self._completions = ChatCompletions(ScriptedAnswers(self._script))
        self._listener = _listen("127.0.0.1", 0)
        ready = threading.Event()
        self._server = _Server(self._completions, on_ready=ready.set)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="model-server", daemon=True
        )
        self._thread.start()
        if not ready.wait(START_SECONDS):
            self._stop()
            raise ModelServerError(f"The model server did not start within {START_SECONDS:g} seconds.")
        self._base_url = _url(self._listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._listener.close()


def run_model_server(
    script: Script | Path | None,
    *,
    mode: Literal["scripted", "local"] = "scripted",
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called once with the base URL when requests are answered.

    With `port` 0 the system gives a free one. Raises ModelServerError for a bad script, an address that cannot be
    had, or a local model that is not installed. In mode `local` the calling process is sealed (see `local.py`).
    """
    answerer = _open_answerer(script, mode=mode)
    with _listen(host, port) as listener:
        server = _Server(ChatCompletions(answerer), on_ready=lambda: on_ready(_url(listener)))
        server.run(sockets=[listener])


def _open_answerer(script: Script | Path | None, *, mode: Literal["scripted", "local"]) -> Answerer:
    if mode == "local":
        return LocalModel()
    if script is None:
        raise ModelServerError("A scripted model needs a script: give it with --script FILE.")
    return ScriptedAnswers(script if isinstance(script, Script) else load_script(script))
