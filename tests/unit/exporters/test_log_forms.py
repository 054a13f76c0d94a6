"""Lines of the log: their two forms, and what of a record they tell."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from celery import Celery

from agent_core.errors import ArgumentsError, ErrandryError, ModelError
from queues.errors import StoreUnreachableError
from workers.exporters.log_context import attach_ids, bound
from workers.exporters.log_forms import JsonLines, TextLines

CANARY = "canary"


class Heard:
    """What a logger's handler has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)
        self.handler.addFilter(attach_ids)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().split("\n")[:-1]]


@contextmanager
def heard(formatter: logging.Formatter, name: str = "tried") -> Iterator[tuple[Heard, logging.Logger]]:
    """A logger of the name, and what it writes."""
    found, logger = Heard(formatter), logging.getLogger(name)
    before = logger.level, logger.propagate
    logger.addHandler(found.handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # pytest's own handler has another opinion of lines
    try:
        yield found, logger
    finally:
        logger.removeHandler(found.handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def fail(error: BaseException) -> None:
    raise error


def caught(error: BaseException) -> BaseException:
    try:
        fail(error)
    except BaseException as found:
        return found
    raise AssertionError


def test_a_json_line_holds_process_message_ids_and_fields() -> None:
    with (
        heard(JsonLines({"process": "tool-worker", "worker": "shell@host:1", "pool": "shell"})) as (found, logger),
        bound(run_id="run_1", attempt=2),
    ):
        logger.info("it is %s", "done", extra={"fields": {"event": "call.settled", "wall_seconds": 0.5}})
    (line,) = found.objects
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "process": "tool-worker",
        "worker": "shell@host:1",
        "pool": "shell",
        "logger": "tried",
        "message": "it is done",
        "run_id": "run_1",
        "attempt": 2,
        "event": "call.settled",
        "wall_seconds": 0.5,
    }


def test_a_text_line_names_what_its_message_does_not() -> None:
    with heard(TextLines()) as (found, logger), bound(run_id="run_1", tool_call_id="call_9", attempt=2):
        logger.warning("run_1 is slow")
    (line,) = found.lines
    assert line[8:] == " WARNING tried: run_1 is slow [tool_call_id=call_9 attempt=2]"


@pytest.mark.parametrize("formatter", [TextLines, lambda: JsonLines({})])
@pytest.mark.parametrize("hostile", ["a\n12:00:00 INFO    tried: forged", "\x1b[2Jgone", "a\u2028b\x85c", "\ud800"])
def test_no_text_of_others_looks_like_a_line_or_steers_a_terminal(
    formatter: Callable[[], logging.Formatter], hostile: str
) -> None:
    with heard(formatter()) as (found, logger), bound(run_id=hostile):
        logger.info("somebody says %s", hostile)
    begin = [line for line in found.lines if not line.startswith("    ")]
    assert len(begin) == 1
    assert "\x1b" not in begin[0] and "\x85" not in begin[0]


def test_a_line_has_a_bound() -> None:
    with heard(JsonLines({})) as (found, logger):
        logger.info("%s", "x" * 100_000)
    assert len(found.objects[0]["message"]) < 5_000


@pytest.mark.parametrize("formatter", [TextLines, lambda: JsonLines({})])
@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"{CANARY} in a tool's error"),
        ModelError(f"the model said {CANARY}"),
        ArgumentsError(f"text: {CANARY} is no number"),
        redis.ResponseError(f"Command # 1 (HSET key {CANARY}) of pipeline caused error"),
        OSError(CANARY),
        ExceptionGroup(CANARY, [ValueError(CANARY)]),
    ],
)
def test_no_exception_speaks_for_itself(formatter: Callable[[], logging.Formatter], error: Exception) -> None:
    outer = RuntimeError(f"{CANARY} on top")
    outer.__cause__ = caught(error)
    with heard(formatter()) as (found, logger):
        logger.error("it failed: %s and %r", error, error)
        logger.error("it failed: %(what)s", {"what": error})
        logger.error("it failed: %s", [error])
        logger.error(error)
        logger.error("it failed", exc_info=caught(outer))
    said = "\n".join(found.lines)
    assert CANARY not in said
    assert said.count(type(error).__name__) == 6, "what kind of error it was is told each time"
    assert "test_log_forms.py" in said and " fail" in said, "and where"


def test_our_own_sentences_are_told() -> None:
    away = StoreUnreachableError("Redis at localhost:6379/0 cannot be reached; start it.")
    with heard(TextLines()) as (found, logger):
        logger.warning("webhooks wait: %s", away)
        logger.warning("it is gone", exc_info=caught(away))
        logger.warning("it is gone: %s", ConnectionRefusedError(111, "Connection refused"))
    assert found.lines[0].endswith("webhooks wait: Redis at localhost:6379/0 cannot be reached; start it.")
    assert "StoreUnreachableError: Redis at localhost:6379/0" in found.lines[2]
    assert found.lines[-1].endswith("it is gone: ConnectionRefusedError: Connection refused")


def test_at_debug_everything_is_told() -> None:
    with heard(JsonLines({}, in_full=True)) as (found, logger):
        logger.error("it failed: %s", ValueError(CANARY), exc_info=caught(ValueError(CANARY)))
    (line,) = found.objects
    assert line["message"] == f"it failed: {CANARY}" and line["exception"] == f"ValueError: {CANARY}"


def test_every_error_that_quotes_others_says_so() -> None:
    quoting = {"ArgumentsError", "CallFailedError", "CallRefusedError", "InvalidAnswerError", "MissingResultError"}
    quoting |= {"ModelError", "OutputSchemaError", "SnapshotSchemaError"}

    def below(kind: type[ErrandryError]) -> Iterator[type[ErrandryError]]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    assert {kind.__name__ for kind in below(ErrandryError) if kind.holds_payload} == quoting


@pytest.mark.filterwarnings("ignore")
def test_what_celery_says_of_a_failed_task_names_its_run_and_not_its_words() -> None:
    app = Celery("tried", set_as_current=False)

    def stumble(text: str) -> None:
        raise ValueError(f"{text} is wrong")

    task = app.task(stumble, name="tools.shell.stumble")
    with heard(JsonLines({}), "celery.app.trace") as (found, _):
        task.apply((CANARY,), task_id="run_1:2:call_3")
    (line,) = found.objects
    assert CANARY not in json.dumps(line)
    assert (line["run_id"], line["step"], line["tool_call_id"]) == ("run_1", "2", "call_3")
    assert "tools.shell.stumble[run_1:2:call_3] raised unexpected: ValueError" in line["message"]
    assert line["exception"] == "ValueError" and "stumble" in line["traceback"]


def test_a_task_that_nobody_awaited_and_a_warning_keep_their_words() -> None:
    with heard(JsonLines({}), "asyncio") as (found, _):

        async def leave() -> None:
            async def stumble() -> None:
                raise ValueError(CANARY)

            task = asyncio.get_running_loop().create_task(stumble(), name="left")
            await asyncio.sleep(0)
            del task

        asyncio.run(leave())
        with asyncio.Runner() as runner:
            runner.get_loop().call_exception_handler({"message": "it is odd", "payload": CANARY})
    line, odd = [line for line in found.objects if line["level"] == "error"]
    assert odd["message"] == "it is odd" and CANARY not in json.dumps(odd)
    assert line["message"] == "Task exception was never retrieved" and line["exception"] == "ValueError"
    with heard(JsonLines({}), "py.warnings") as (warned, _), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        try:
            warnings.warn(f"{CANARY} is odd", RuntimeWarning, stacklevel=1)
        finally:
            logging.captureWarnings(False)
    assert warned.objects[0]["message"].endswith("RuntimeWarning")
    assert CANARY not in json.dumps([line, *warned.objects])


def test_a_mistake_in_a_line_does_not_cost_the_line() -> None:
    with heard(TextLines()) as (found, logger):
        logger.info("%d of %d", "one")
    assert found.lines[0].endswith("INFO    tried: %d of %d")


def test_ids_go_along_into_threads_of_the_work_and_end_with_it() -> None:
    with heard(JsonLines({})) as (found, logger):
        with bound(run_id="run_1"):

            async def nested() -> None:
                with bound(tool_call_id="call_1"):
                    await asyncio.to_thread(logger.info, "in a thread")

            asyncio.run(nested())
            logger.info("outside the call")
        logger.info("outside the run")
        stranger = threading.Thread(target=logger.info, args=("a stranger",))
        stranger.start()
        stranger.join()
    assert [(line.get("run_id"), line.get("tool_call_id")) for line in found.objects] == [
        ("run_1", "call_1"),
        ("run_1", None),
        (None, None),
        (None, None),
    ]
