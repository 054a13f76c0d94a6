"""Where things belong in a trace: what is read of a traceparent, and what is found where a run is submitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from agent_core.run import RunSnapshot
from queues.protocol import CallRequest
from queues.tracing import TracePlace, traceparent_here, under

EXAMPLE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLACES = st.builds(
    TracePlace, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans()
)  # all but the ids that are none


@given(PLACES)
def test_what_is_written_is_read(place: TracePlace) -> None:
    assert TracePlace.read(place.written()) == place


@given(st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text())))
def test_anything_else_is_none(junk: object) -> None:
    assert TracePlace.read(junk) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        EXAMPLE.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        EXAMPLE.upper(),
        EXAMPLE[:-1],
        f"{EXAMPLE}x",
        f"{EXAMPLE}-{'x' * 1000}",
    ],
)
def test_what_is_spoilt_is_none(spoilt: str) -> None:
    assert TracePlace.read(spoilt) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert TracePlace.read(EXAMPLE.replace("00-", "01-", 1) + "-more") == TracePlace.read(EXAMPLE)


def test_nothing_is_found_where_nothing_is_active() -> None:
    assert traceparent_here() is None


def test_what_was_given_counts_within_its_block_only() -> None:
    with under(EXAMPLE):
        assert traceparent_here() == EXAMPLE
        with under("nonsense"):
            assert traceparent_here() is None
    assert traceparent_here() is None


def test_an_active_span_goes_before_what_was_given() -> None:
    active = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.DEFAULT))
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(active)))
    try:
        with under(EXAMPLE):
            assert traceparent_here() == TracePlace(1, 2, sampled=False).written()
    finally:
        context.detach(token)


def test_what_is_stored_says_nothing_of_it_where_nobody_traces() -> None:
    snapshot = RunSnapshot.create(agent_name="ops", input="hello")
    assert "trace" not in snapshot.to_json() and "stretch" not in snapshot.to_json()
    request = CallRequest(run_id="r", step=1, tool_call_id="c", tool_name="t", tool_args={})
    assert "trace" not in request.stored()
    with_it = RunSnapshot.create(agent_name="ops", input="hello", traceparent=EXAMPLE)
    assert RunSnapshot.from_json(with_it.to_json()).traceparent == EXAMPLE
