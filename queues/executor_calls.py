"""The calls of pools that are served over HTTP: handed to an executor with a token, found again by it, settled.

A token is all that an executor knows of its lease; the store knows a digest of it. So any gateway serves any executor,
and nothing about a call is remembered here. Decides neither who may ask nor what is tried again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Literal

import redis

from agent_core.tools.execution import CallResult
from queues import keys
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.envelopes import call_envelope, stretch_task
from queues.protocol import CallRequest
from queues.replies import fields, now_ms
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import lane_named, pool_queue

Held = Literal["held", "cancelled", "lost"]
"""How a call stands, in the words of a heartbeat."""

LEVEL = "external"
"""The sandbox level of what is executed elsewhere: nobody here knows of any wall."""

_NOBODY = ""  # an epoch that no claim has, so that whatever is written under it is refused, and counted
_HELD = ("claimed", "executing")


@dataclass(frozen=True)
class LentCall:
    """A call as an executor has it, or had it, or says that it has it: the token of its lease, and since when.

    `is_held` says whether it was the executor's when it was looked at. The store refuses whatever is done under a lease
    that is not held, but for an answer that is given again.
    """

    call: ClaimedCall
    lease: str
    begun_ms: int
    is_held: bool = True


@dataclass(frozen=True)
class _Token:
    """What a lease says to whoever gave it out; the nonce keeps others from making one."""

    tool_name: str
    executor: str
    begun_ms: int
    nonce: str

    def written(self) -> str:
        words = json.dumps([self.tool_name, self.executor, self.begun_ms, self.nonce]).encode()
        return base64.urlsafe_b64encode(words).decode().rstrip("=")

    @classmethod
    def read(cls, lease: str) -> _Token:
        """The token of a lease; that of nobody, if it is none of ours."""
        try:
            padded = lease.encode("ascii") + b"=" * (-len(lease) % 4)
            tool_name, executor, begun_ms, nonce = json.loads(base64.urlsafe_b64decode(padded))
            return cls(str(tool_name), str(executor), int(begun_ms), str(nonce))
        except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError):
            return cls("", "", 0, "")


class ExecutorCalls:
    """What the gateway does with calls in the name of executors. Every method but `hand_over` may be repeated."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._timing = timing

    def hand_over(self, address: CallAddress, executor: str) -> LentCall | str:
        """Claim a queued call for an executor and begin it; in a word why not, if it is not to be had (any more).

        From here on the executor may have executed it: unless it is heard of, the call is lost.
        """
        token = _Token(address.tool_name, executor, now_ms(self._connection), secrets.token_urlsafe(16))
        lease, calls = token.written(), self._calls(executor)
        claimed = calls.claim(address, owner=_owner(executor, lease))
        if isinstance(claimed, str):
            return claimed
        begun = calls.begin(claimed, sandbox_level=LEVEL)
        return begun if isinstance(begun, str) else LentCall(begun, lease, token.begun_ms)

    def find(self, pool: str, run_id: str, step: int, tool_call_id: str, *, lease: str) -> LentCall | None:
        """The call again, as its lease has it; None if the pool has no such call (any more)."""
        token = _Token.read(lease)
        address = CallAddress(pool, run_id, step, tool_call_id, token.tool_name)
        names = [f"{name}:{tool_call_id}" for name in ("request", "state", "owner", "epoch", "attempts", "queued")]
        stored, state, owner, epoch, attempts, queued, agent, lane = fields(
            self._connection, keys.part(pool, run_id, step), *names, "agent", "lane"
        )
        if stored is None:
            return None
        holds = hmac.compare_digest((owner or "").encode(), _owner(token.executor, lease).encode("utf-8", "replace"))
        call = ClaimedCall(
            address=address,
            request=CallRequest.read(stored, address.call),
            epoch=epoch if holds and epoch else _NOBODY,
            queue_wait_seconds=max(0, token.begun_ms - int(queued or 0)) / 1000,
            agent=agent or "",
            lane=lane_named(lane),
            attempt=int(attempts or 0),
        )
        return LentCall(call, lease, token.begun_ms, is_held=holds and state in _HELD)

    def executor_of(self, lease: str) -> str:
        """Whose lease it is, as the lease says."""
        return _Token.read(lease).executor

    def renew(self, lent: LentCall) -> Held:
        """One heartbeat: whether the call is still this executor's, and still wanted."""
        standing = self._calls(lent).renew(lent.call)
        return "held" if standing == "held" else "cancelled" if standing == "cancelled" else "lost"

    def held_seconds(self, lent: LentCall) -> float:
        """For how long the executor has had the call, by the server's clock."""
        return max(0, now_ms(self._connection) - lent.begun_ms) / 1000

    def settle(self, lent: LentCall, result: CallResult, *, retry_after_seconds: float = 0) -> str:
        """Write the answer down; see `Calls.settle` for the words.

        `settled` also for the same answer again, however long the executor is said to have taken for it.
        """
        verdict = self._calls(lent).settle(lent.call, result, retry_after_seconds=retry_after_seconds)
        if verdict == "already" and self._stands(lent, result):
            return "settled"
        return verdict

    def _stands(self, lent: LentCall, result: CallResult) -> bool:
        address = lent.call.address
        (stored,) = fields(self._connection, address.part, f"answer:{address.tool_call_id}")
        told = CallResult.model_validate_json(stored or "{}")
        return _timeless(told) == _timeless(result)

    def release(self, lent: LentCall) -> Literal["released", "cancelled", "lost"]:
        """Give the call back to the head of its queue, as if nobody had taken it: it was not executed."""
        call, address = lent.call, lent.call.address
        ids = (address.run_id, address.step, address.tool_call_id)
        (stretch,) = fields(self._connection, address.part, "stretch")
        parent_id = stretch_task(address.run_id, stretch)
        envelope = call_envelope(address.pool, address.tool_name, ids, call.lane, parent_id=parent_id)
        word = self._scripts.word(
            "release_call",
            [address.part, address.due, pool_queue(address.pool, call.lane)],
            [
                address.tool_call_id,
                call.epoch,
                address.due_member,
                envelope.render(),
                milliseconds(self._timing.repush_seconds),
            ],
        )
        return "released" if word == "released" else "cancelled" if word == "cancelled" else "lost"

    def _calls(self, who: LentCall | str) -> Calls:
        worker = who if isinstance(who, str) else self.executor_of(who.lease)
        return Calls(self._connection, timing=self._timing, worker=worker)


def _owner(executor: str, lease: str) -> str:
    return f"{executor}/{hashlib.sha256(lease.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _timeless(result: CallResult) -> CallResult:
    return result.model_copy(update={"metrics": result.metrics.model_copy(update={"wall_seconds": None})})
