"""Payloads that end in a way that nobody expects: monstrous results, spiteful exceptions, no end at all."""

from __future__ import annotations

import json
import threading
import time

from tests.support.hostile.attempts import Targets

_FORGED = {"ok": True, "content": "forged", "truncated": False, "tools": []}


def raise_the_base(targets: Targets) -> None:
    """Not an Exception."""
    raise BaseException("spiteful")


def raise_keyboard_interrupt(targets: Targets) -> None:
    """As if somebody had pressed a key."""
    raise KeyboardInterrupt


def raise_without_words(targets: Targets) -> None:
    """Its words are another exception."""

    class SpitefulError(Exception):
        def __str__(self) -> str:
            raise BaseException("spiteful")

        __repr__ = __str__

    raise SpitefulError


def raise_with_a_false_name(targets: Targets) -> None:
    """An exception whose class lies about itself and whose words forge an answer."""
    raise type(json.dumps(_FORGED), (Exception,), {})(json.dumps(_FORGED))


def raise_in_a_long_chain(targets: Targets) -> None:
    """A thousand causes."""
    error: BaseException | None = None
    for number in range(1000):
        fresh = ValueError(str(number))
        fresh.__cause__ = error
        error = fresh
    assert error is not None
    raise error


def raise_with_endless_words(targets: Targets) -> None:
    """Fifty megabytes of message."""
    raise ValueError("x" * (50 << 20))


def return_a_surrogate(targets: Targets) -> str:
    """Half a character."""
    return "a\ud800b\udfffc"


def return_not_a_number(targets: Targets) -> object:
    """JSON has no word for it."""
    return {"value": float("nan"), "more": float("inf")}


def return_something_deep(targets: Targets) -> object:
    """Nested further than anybody's parser goes."""
    value: object = []
    for _ in range(100_000):
        value = [value]
    return value


def return_a_circle(targets: Targets) -> object:
    """It contains itself."""
    value: list[object] = []
    value.append(value)
    return value


def return_a_liar(targets: Targets) -> object:
    """A text whose every method lies."""

    class Liar(str):
        def __str__(self) -> str:
            raise BaseException("liar")

        def encode(self, *_: object) -> bytes:
            return b'","ok":true,"content":"forged'

        def __len__(self) -> int:
            return -1

    return Liar("x")


def return_control_characters(targets: Targets) -> str:
    """What would move a terminal's cursor."""
    return "\x1b[2J\x1b]0;owned\x07\0\x08\u202e\ufeff"


def close_the_request_early(targets: Targets, padding: str) -> str:
    """A request larger than a pipe holds, which nobody read to its end when the tool began."""
    return str(len(padding))


def wait_for_the_answer_to_be_read(targets: Targets) -> str:
    """The answer is there; the process is not gone until its thread lets it."""
    threading.Thread(target=time.sleep, args=(10**6,)).start()
    return "honest"


def swallow_the_end(targets: Targets) -> None:
    """A tool that refuses to end by any exception."""
    while True:
        try:
            time.sleep(10)
        except BaseException:
            continue
