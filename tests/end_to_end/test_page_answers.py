"""People answer on the run page, by clicking and by the keyboard alone: approval, yes or no, input, results, cancel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.embedded import EmbeddedServer
from tests.support import browser as browsing
from tests.support.paged import BOUND, Paged, paging

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not browsing.is_there(), reason=browsing.MISSING),
]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Paged]:
    with paging(tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("browser"), embedded_server) as found:
        yield found


@pytest.fixture
def paged(everything: Paged) -> Iterator[Paged]:
    everything.browser.size(1280, 900)
    yield everything
    everything.browser.run("sessionStorage.clear()")
    assert everything.browser.complaints() == []


def test_a_call_is_approved_with_changed_arguments_by_clicking(paged: Paged) -> None:
    browser = paged.browser
    run = paged.paused("ops", "Deploy to prod")
    browser.find("h3", "Approve deploy?")
    assert '"replicas": 3' in browser.run("return arguments[0].value", browser.labelled("Arguments"))
    for text, complaint in (("{", "This is no JSON:"), ("[1]", "This is no JSON object")):
        browser.type("", text, label="Arguments")
        browser.click("button", "Approve")
        browser.wait_text(complaint, ".card")
        assert "Arguments" in browser.focused()
        assert browser.run("return document.activeElement.ariaInvalid") == "true"
    # More digits than a number in JavaScript holds.
    browser.type("", '{"target": "staging", "replicas": 12345678901234567890}', label="Arguments")
    browser.type("", "fewer would do", label="Note")
    browser.type("", "ada", label="Your name")
    browser.click("button", "Approve")
    output = paged.ended(run)
    (call,) = output.tools
    assert call.result == "deployed 12345678901234567890 to staging"
    assert (call.requested_args, call.answered_by) == ({"target": "prod", "replicas": 3}, "ada")
    browser.wait_text("You said yes.", ".card")
    assert not browser.run("return document.querySelector('.card form').checkVisibility()")
    told = paged.open_row("deploy")
    for text in ("by ada", "fewer would do", "12345678901234567890", "Arguments as the model gave them", "prod"):
        assert text in told
    pieces = "return [...document.querySelectorAll('.row:nth-child(2) .bar-piece')].map(e => e.dataset.kind)"
    assert browser.run(pieces) == ["person", "queued", "executing", "settled"]


def test_unchanged_arguments_are_not_sent(paged: Paged) -> None:
    run = paged.paused("ops", "Deploy to prod")
    paged.browser.click("button", "Approve")
    (call,) = paged.ended(run).tools
    assert (call.result, call.requested_args) == ("deployed 3 to prod", None)


def test_a_call_is_denied_by_the_keyboard_alone(paged: Paged) -> None:
    browser = paged.browser
    run = paged.submit("ops", "Deploy to prod")
    run.wait(timeout=BOUND, until="paused")
    paged.open_list()
    browser.wait_text("Waits for a person: deploy", ".runs tbody tr")
    browser.tab_to("Deploy to prod")
    browser.press("Enter")
    browser.wait_text("Approve deploy?")
    assert browser.focused() == "ops"
    browser.tab_to("Note")
    browser.press("not today")
    browser.tab_to("Deny")
    outline = browser.run("const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth")
    assert outline == "solid2px"
    browser.press("Enter")
    (call,) = paged.ended(run).tools
    assert (call.outcome, call.answered_by) == (CallOutcome.DENIED, None)
    assert "not today" in str(call.result)
    # The button is gone, and the focus stands where it was.
    browser.wait_text("You said no.", ".card")
    assert browser.focused() == "Approve deploy?"
    assert "You said no." in browser.text("#announcer") or "completed" in browser.text("#announcer")


def test_yes_by_the_keyboard_alone(paged: Paged) -> None:
    browser = paged.browser
    run = paged.paused("careful", "Delete everything")
    browser.wait_text("Let delete_all run?")
    browser.tab_to("Yes, let it run")
    browser.press("Space")
    (call,) = paged.ended(run).tools
    assert (call.result, call.confirmed) == ("deleted everything", True)


def test_input_is_checked_by_its_types_before_it_is_sent(paged: Paged) -> None:
    browser = paged.browser
    run = paged.paused("careful", "Book a room")
    browser.wait_text("book_room needs your input")
    browser.click("button", "Send the input")
    complaints = "return [...document.querySelectorAll('.card .complaint')].map(e => e.innerText).filter(Boolean)"
    assert browser.run(complaints) == ["This is needed."] * 5
    assert browser.focused() == "name"
    for label, wrong in (("seats", "4.5"), ("budget", "cheap"), ("extras", '{"a": 1}')):
        browser.type("", wrong, label=label)
    browser.click("button", "Send the input")
    told = browser.run(complaints)
    for text in ("This is no whole number", "This is no number", "This is no JSON list"):
        assert any(complaint.startswith(text) for complaint in told), told
    assert run.status() is RunStatus.PAUSED

    given = {"name": "Ada\nLovelace", "seats": "12", "budget": "99.5", "extras": '["water", "tea"]'}
    for label, value in given.items():
        browser.type("", value, label=label)
    browser.run("arguments[0].value = 'false'", browser.labelled("catering"))
    browser.click("button", "Send the input")
    (call,) = paged.ended(run).tools
    assert call.result == "booked Ada\nLovelace for 12 at 99.5, catering False, extras ['water', 'tea'], remark ''"
    browser.wait_text("You gave the input.", ".card")


@pytest.mark.parametrize(
    ("button", "outcome"), [("Give the result", CallOutcome.SUCCEEDED), ("Report as failed", CallOutcome.FAILED)]
)
def test_a_call_without_a_pool_is_settled_by_hand(paged: Paged, button: str, outcome: CallOutcome) -> None:
    browser = paged.browser
    run = paged.paused("careful", "Ask for the answer")
    browser.wait_text("ask_colleague needs a result")
    browser.click("button", button)
    browser.wait_text("Say what came of it", ".card")
    browser.type("", "it is 42", label="Result")
    browser.click("button", button)
    (call,) = paged.ended(run).tools
    assert (call.outcome, call.result) == (outcome, "it is 42")


def test_what_somebody_else_answers_is_seen_and_takes_no_answer_any_more(paged: Paged) -> None:
    browser = paged.browser
    run = paged.paused("careful", "Delete the archive")
    call = run.output().tools[0]
    browser.tab_to("Note")
    browser.press("I was just about to")
    paged.walk.client.confirm(run.run_id, call.tool_call_id, False, answered_by="grace")
    browser.wait_text("Answered by grace", ".card")
    assert browser.focused() == "Let delete_all run?"
    assert paged.ended(run).tools[0].outcome is CallOutcome.DENIED


def test_a_run_is_cancelled_by_the_keyboard_alone(paged: Paged) -> None:
    browser = paged.browser
    run = paged.paused("ops", "Deploy to prod")
    browser.find("h3", "Approve deploy?")
    browser.tab_to("Cancel run…")
    browser.press("Enter")
    browser.find("#cancel-dialog")
    assert browser.focused() == "Let it go on"
    inside = "return document.getElementById('cancel-dialog').contains(document.activeElement)"
    browser.press("Escape")
    browser.wait("return !document.getElementById('cancel-dialog').open", "the dialog is closed")
    assert browser.focused() == "Cancel run…" and run.status() is RunStatus.PAUSED
    browser.press("Enter")
    browser.find("#cancel-dialog")
    browser.press("Tab")
    assert browser.run(inside)
    browser.tab_to("Reason")
    browser.press("no longer needed")
    browser.tab_to("Cancel the run")
    browser.press("Enter")
    output = paged.ended(run)
    assert output.status is RunStatus.CANCELLED and "no longer needed" in str(output.error)
    browser.wait_text("no longer needed", ".ended")
    browser.wait_text("nobody is to answer any more", ".card")
    # The button is gone; whoever used it is not thrown back to the top of the page.
    assert browser.focused() == "ops"


def test_a_failed_run_is_retried(paged: Paged) -> None:
    browser = paged.browser
    run = paged.submit("ops", "Break once")
    assert run.wait(timeout=BOUND).status is RunStatus.ERROR
    paged.open_run(run)
    browser.wait_text("content filter", ".ended")
    browser.wait_text("failed", ".row-state")
    browser.click("button", "Retry")
    browser.wait_text("completed", ".run-title .badge")
    assert paged.ended(run).status is RunStatus.COMPLETED
    browser.wait_text("mended", ".messages")
    browser.wait("return !document.querySelector('.ended')?.checkVisibility()", "the error is gone")
    browser.wait("return document.querySelectorAll('.row').length === 2", "there are both turns")
