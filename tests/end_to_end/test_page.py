"""The run page in a real browser, in front of real processes: what a person sees of runs, at a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from queues.embedded import EmbeddedServer
from tests.support import browser as browsing
from tests.support.browser import contrasts
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
    """A desk, in light. At the end the browser has nothing to complain of: no error, and no refusal by a policy."""
    everything.browser.size(1280, 900)
    everything.browser.prefers(color_scheme="light")
    yield everything
    assert everything.browser.complaints() == []


def test_the_list_shows_new_runs_and_their_changes_without_a_reload(paged: Paged) -> None:
    browser = paged.browser
    first = paged.submit("ops", "Say the first thing")
    paged.open_list()
    browser.wait_text("Say the first thing", ".runs")
    browser.run("window.isTheSame = true; window.row = document.querySelector('.runs tbody tr')")
    browser.run("document.querySelector('a.row-link').focus()")

    gate = paged.walk.settings.project_dir / "list-gate"
    second = paged.submit("ops", f"Print something until {gate.name}")
    browser.wait_text("Waits for pool shell: print_and_wait", ".runs")
    row = ".runs tbody tr:first-child"
    browser.wait_text("paused", row)
    gate.touch()
    browser.wait_text("completed", row)
    assert "Print something until" in browser.text(row)
    third = paged.submit("ops", "Deploy to prod")
    browser.wait_text("Waits for a person: deploy", ".runs tbody tr:first-child")

    # Updated in place: the same page, the same row, and the focus is where it was.
    assert browser.run("return window.isTheSame && window.row.isConnected")
    assert browser.focused() == "Say the first thing"
    listed = browser.run("return [...document.querySelectorAll('a.row-link')].map(a => a.hash)")
    assert listed[:3] == [f"#/runs/{run.run_id}" for run in (third, second, first)]
    title = browser.run("return document.querySelector('.runs time').title")
    assert ":" in title and any(character.isdigit() for character in title)


def test_the_list_is_filtered_and_paged_and_the_back_button_works(paged: Paged) -> None:
    browser = paged.browser
    runs = [paged.submit("ops", f"Say number {number}") for number in range(60)]
    runs[-1].wait(timeout=BOUND)
    waiting = paged.submit("careful", "Delete the filtered")
    waiting.wait(timeout=BOUND, until="paused")
    paged.open_list("?agent=ops")
    count = "return document.querySelectorAll('.runs tbody tr').length"
    browser.wait(f"{count} === 50", "there is a page of runs")
    assert "Delete the filtered" not in browser.text(".runs")
    browser.click("button", "Show older runs")
    browser.wait(f"{count} >= 60", "there are older ones")
    # What was loaded stays, although the list is asked for again meanwhile.
    paged.submit("ops", "Say one more")
    browser.wait_text("Say one more", ".runs")
    assert browser.run(count) >= 61

    browser.run(
        "const [status, agent] = document.querySelectorAll('.filters select');"
        "agent.value = ''; status.value = 'PAUSED'; status.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    browser.wait_text("Delete the filtered", ".runs")
    assert browser.run("return location.hash") == "#/?status=PAUSED"
    assert "completed" not in browser.text(".runs")
    browser.click("a", "Delete the filtered")
    browser.wait_text("careful", "h1")
    assert browser.run("return document.activeElement.tagName") == "H1"
    browser.run("history.back()")
    browser.wait_text("Delete the filtered", ".runs")
    assert browser.focused() == "Delete the filtered"
    browser.run("history.back()")
    browser.wait_text("Say one more", ".runs")
    assert browser.run("return location.hash") == "#/?agent=ops"
    paged.open_list("?agent=nobody")
    browser.wait_text("No run fits.")
    browser.click("a", "Show all runs")
    browser.wait_text("Delete the filtered", ".runs")


def test_the_timeline_of_a_run_over_two_pools(paged: Paged) -> None:
    browser = paged.browser
    run = paged.submit("ops", "Everything at once", session_id="ses_of_mine", user_id="ada", metadata={"ticket": 4711})
    output = run.wait(timeout=BOUND)
    paged.open_run(run)
    browser.wait_text("Complete", "#link-state")
    browser.wait("return document.querySelectorAll('.row').length === 5", "all rows are there")
    heads = browser.run(
        "return [...document.querySelectorAll('.row-head')].map(e => e.innerText.replace(/\\s+/g, ' '))"
    )
    assert [head.rsplit(" ", 2)[0] for head in heads] == [
        "Model step 1 done", "run_command shell succeeded", "count_words python succeeded", "add inline succeeded",
        "Model step 2 done",
    ]  # fmt: skip
    pieces = browser.run(
        "return [...document.querySelectorAll('.row')].map(row => [...row.querySelectorAll('.bar-piece')]"
        ".map(e => [e.dataset.kind, e.dataset.outcome ?? '', e.getBoundingClientRect().width > 1]))"
    )
    assert pieces[0] == [["model", "asked", True]]
    for call in pieces[1:3]:
        assert [kind for kind, *_ in call] == ["queued", "executing", "settled"]
        assert call[1] == ["executing", "succeeded", True]
    shell = output.tools[0].metrics
    assert shell is not None
    for name, said in (
        ("run_command", ["echo from the shell", "from the shell", str(shell.worker), str(shell.sandbox_level)]),
        ("count_words", ["one two three", "3"]),
    ):
        told = paged.open_row(name)
        for text in said:
            assert text in told, (text, told)
    whole = browser.text("main")
    for text in ("ses_of_mine", "ada", '"ticket": 4711', f"{output.metrics.input_tokens} in", "Do what you are asked."):
        assert text in whole
    assert browser.run("return document.title") == "completed: ops - Errandry"


def test_text_and_output_are_seen_while_they_come(paged: Paged) -> None:
    browser = paged.browser
    paged.open_run(paged.submit("ops", "Think of a long text, half of which is told before the model stands still"))
    browser.wait_text("writing…", ".messages")
    browser.wait_text("of a long text", ".messages li[aria-busy]")
    browser.wait_text("completed", ".run-title .badge")
    browser.wait("return !document.querySelector('.messages li[aria-busy]')", "the message is whole")
    assert "model stands still" in browser.text(".messages")
    assert browser.text("#announcer") == "The run is completed."

    gate = paged.walk.settings.project_dir / "output-gate"
    paged.open_run(paged.submit("ops", f"Print the-first-line until {gate.name}"))
    browser.wait_text("the-first-line", ".output")
    assert "live" in browser.text(".output summary")
    assert "executing" in browser.text(".row:nth-child(2) .row-state")
    browser.run("window.output = document.querySelector('.output'); window.output.querySelector('summary').focus()")
    gate.touch()
    browser.wait_text("completed", ".run-title .badge")
    browser.wait_text("succeeded", ".row:nth-child(2) .row-state")
    assert browser.run("return window.output.isConnected && window.output.contains(document.activeElement)")


def test_a_phone_shows_everything_without_scrolling_sideways(paged: Paged) -> None:
    browser = paged.browser
    wide = "x" * 300
    paged.submit("ops", f"Say {wide}").wait(timeout=BOUND)
    run = paged.submit("ops", f"Run echo {wide}; echo {wide} >&2", metadata={"wide": wide}, session_id=wide[:200])
    run.wait(timeout=BOUND)
    asking = paged.submit("careful", "Book a room")
    asking.wait(timeout=BOUND, until="paused")
    approving = paged.submit("ops", f"Deploy to {wide}")
    approving.wait(timeout=BOUND, until="paused")
    browser.size(360, 740, is_phone=True)
    fits = "return document.documentElement.scrollWidth <= innerWidth && innerWidth === 360"
    paged.open_list()
    browser.wait_text(wide[:20], ".runs")
    assert browser.run(fits)
    for each in (run, asking, approving):
        paged.open_run(each)
        browser.wait_text("Model", ".rows")
        browser.run("document.querySelectorAll('.row-head[aria-expanded=false]').forEach(e => e.click())")
        assert browser.run(fits), each.output().input
    browser.click("button", "Cancel run…")
    assert browser.run(fits) and browser.find("#cancel-dialog")


def test_texts_can_be_read_in_light_and_in_dark(paged: Paged) -> None:
    browser = paged.browser
    failed = paged.submit("ops", "Fail with a reason")
    failed.wait(timeout=BOUND)
    broken = paged.submit("ops", "Break always")
    broken.wait(timeout=BOUND)
    waiting = paged.submit("ops", "Deploy to prod")
    waiting.wait(timeout=BOUND, until="paused")
    grounds = []
    for scheme in ("light", "dark"):
        browser.prefers(color_scheme=scheme, reduced_motion="reduce")
        paged.open_list()
        browser.wait_text("Deploy to prod", ".runs")
        assert contrasts(browser) == []
        for run in (failed, broken, waiting):
            paged.open_run(run)
            browser.wait_text("Model", ".rows")
            browser.run("document.querySelectorAll('.row-head[aria-expanded=false]').forEach(e => e.click())")
            assert contrasts(browser) == []
        browser.click("button", "Cancel run…")
        assert contrasts(browser) == []
        browser.press("Escape")
        grounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        assert browser.run("return document.getAnimations().length") == 0
    light, dark = (sum(int(part) for part in ground[4:-1].split(",")) for ground in grounds)
    assert light > 600 and dark < 150


def test_what_a_run_says_never_becomes_markup(paged: Paged) -> None:
    """Wherever text of others stands: input, ids, metadata, model, arguments, output, result, reasons."""
    browser = paged.browser
    hostile = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    ids = {"session_id": hostile, "user_id": hostile, "metadata": {hostile: hostile}}
    gate = paged.walk.settings.project_dir / "hostile-gate"
    gate.touch()
    quoted = hostile.replace("'", "")
    runs = [
        paged.submit("ops", f"Say {hostile}", **ids),
        paged.submit("ops", f"Run echo '{quoted}'", **ids),
        paged.submit("ops", f"Print {hostile} until {gate.name}", **ids),
        paged.submit("ops", f"Fail with {hostile}", **ids),
    ]
    for run in runs:
        run.wait(timeout=BOUND)
    waiting = [paged.submit("ops", f"Deploy to {hostile}"), paged.submit("careful", f"Ask {hostile}")]
    for run in waiting:
        run.wait(timeout=BOUND, until="paused")
    stopped = paged.submit("careful", f"Delete {hostile}")
    stopped.wait(timeout=BOUND, until="paused")
    stopped.cancel(hostile)
    stopped.wait(timeout=BOUND)
    strange = "return window.hacked ?? document.querySelectorAll('main :is(img, script, iframe, object, style)').length"
    paged.open_list()
    browser.wait_text(hostile, ".runs")
    assert browser.run(strange) == 0
    for run in (*runs, *waiting, stopped):
        paged.open_run(run)
        browser.wait_text("Model", ".rows")
        browser.run("document.querySelectorAll('.row-head[aria-expanded=false]').forEach(e => e.click())")
        shown = browser.text("main") + browser.run("return document.querySelector('textarea')?.value ?? ''")
        assert hostile in shown.replace('\\"', '"')
        assert browser.run(strange) == 0
    browser.open(f"{paged.served.url}/#/runs/{hostile}")
    browser.wait_text("There is nothing at", ".failure")
    assert browser.run(strange) == 0
    # Asked for a run that cannot be there, the gateway said no; nothing else was complained of.
    refused = browser.complaints()
    assert len(refused) == 1 and "/v1/runs/%3Cimg" in refused[0] and "404" in refused[0], refused


def test_invisible_characters_are_spelt_out_where_a_person_decides(paged: Paged) -> None:
    paged.paused("ops", "Deploy to prod\u202e\u200bsafe")
    shown = paged.browser.run("return arguments[0].value", paged.browser.labelled("Arguments"))
    assert "prod\\u202e\\u200bsafe" in shown
