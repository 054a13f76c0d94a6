"""Tells Celery's monitors what came of a delivery in events of its own: a paused run is no success, a failed call is
a failure. What Celery does with the message stays as it is: the task has returned, and the message is acknowledged.
"""

from __future__ import annotations

import threading

from celery.worker.request import Request

from workers.watching.words import Kind, Word

# Celery hands on the repr of what a task returned, in the thread that executed it.
_last = threading.local()


def shown(word: Word) -> Word:
    """The word itself, to be returned by a task; the event that ends this thread's delivery tells it."""
    _last.word = word
    return word


class Delivery(Request):  # type: ignore[misc]
    """A message that a worker of ours executes."""

    def send_event(self, type: str, **fields: object) -> None:
        """Tell what came of it by the event of its kind; of a fault of ours only the name, since an error may quote."""
        word = _last.__dict__.pop("word", None)
        if type == Kind.SUCCEEDED and word is not None:
            type, fields = word.kind, _fields(word, fields.get("runtime"))
        elif type == Kind.FAILED:
            name = str(fields.get("exception")).partition("(")[0]
            text = f"{name}, a fault in the worker; its log says more"
            fields = {"exception": text, "result": text, "traceback": None}
        # Whoever begins to listen in the middle of a delivery hears what it was for all the same.
        super().send_event(type, **self._whose(), **fields)

    def _whose(self) -> dict[str, object]:
        return {"name": self.name, "args": self.argsrepr, "root_id": self.root_id, "parent_id": self.parent_id}


def _fields(word: Word, runtime: object) -> dict[str, object]:
    fields: dict[str, object] = {"runtime": runtime}
    if word.arguments:
        fields["kwargs"] = word.arguments
    match word.kind:
        case Kind.COPY:
            return fields | {"note": word.shown, "terminated": False, "signum": None, "expired": False}
        case Kind.ELSEWHERE:
            return fields | {"note": word.shown, "requeue": False}
        case Kind.FAILED:
            return fields | {"result": word.shown, "exception": word.shown, "traceback": None}
        case _:
            return fields | {"result": word.shown}
