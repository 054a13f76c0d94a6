/*
 * One run while somebody looks at it: asks for what it is, follows its events, and has both drawn.
 */
import { ask, follow } from "./api.js";
import { framed } from "./dom.js";
import { linkState } from "./link_state.js";
import { runPage } from "./run_page.js";
import { Story } from "./story.js";
import { now } from "./time.js";
import { isFinished } from "./words.js";

// Several events in a row change the messages; they are asked for once.
const GATHER = 300;
const AT_LEAST_BETWEEN = 1500;
// Browsers allow few connections to one place, over all tabs: a tab that nobody looks at holds none for long.
const HIDDEN_FOR = 10_000;
const TICK = 1000;
const CLOCK_ERROR = 3000;

/** A view: `{ node, heading, resume(), stop() }`. */
export function runView(runId) {
  const page = runPage(runId, onDone);
  let output = null;
  let outputAt = 0;
  let story = null;
  let place = null;
  let known = -1;
  let asking = false;
  let askedAt = 0;
  let stream = null;
  let timers = [];
  let isStopped = true;
  const redraw = framed(() => output && story && page.draw(output, story, { status: status(), isKnown: known === story.chapters }));

  /** What the events say, unless the run was looked at since. */
  function status() {
    return story.status !== null && story.lastAt >= outputAt ? story.status : output.status;
  }

  async function refresh() {
    if (asking || isStopped) return;
    asking = true;
    askedAt = Date.now();
    const { chapters } = story ?? { chapters: -1 };
    const lookedAt = now();
    try {
      output = await ask(`v1/runs/${encodeURIComponent(runId)}/output`, { signal: stream?.signal });
      outputAt = lookedAt;
      story ??= new Story(Date.parse(output.created_at));
      known = chapters;
      page.fail(null);
      redraw();
      if (!document.hidden && (!isFinished(output.status) || story.endedAt === null)) listen();
    } catch (error) {
      if (error.name !== "AbortError") page.fail(error, refresh);
    } finally {
      asking = false;
    }
    if (story && story.chapters !== known) later();
  }

  function later() {
    clearTimeout(timers[0]);
    // What happened before the run was looked at is in what was found.
    if (story.lastAt < outputAt - CLOCK_ERROR) return (known = story.chapters);
    timers[0] = setTimeout(refresh, Math.max(GATHER, askedAt + AT_LEAST_BETWEEN - Date.now()));
  }

  async function listen() {
    if (stream || isStopped) return;
    const mine = (stream = new AbortController());
    try {
      await follow(runId, {
        after: place,
        signal: mine.signal,
        onState: linkState,
        onEvent(event, id) {
          place = id;
          const { chapters } = story;
          story.take(event);
          if (story.chapters !== chapters) later();
          redraw();
        },
      });
      if (!mine.signal.aborted) linkState("over");
    } catch (error) {
      linkState(null);
      if (error.name !== "AbortError") page.fail(error, refresh);
    } finally {
      if (stream === mine) stream = null;
    }
  }

  /** A retry may have failed again by now, so the run is followed whatever it says of itself. */
  function onDone(wasRetry) {
    if (wasRetry) listen();
    refresh();
  }

  function hush() {
    stream?.abort();
    stream = null;
    linkState(null);
  }

  function onVisibility() {
    clearTimeout(timers[1]);
    if (document.hidden) timers[1] = setTimeout(hush, HIDDEN_FOR);
    else if (!stream) refresh();
  }

  return {
    node: page.node,
    heading: page.heading,
    resume() {
      isStopped = false;
      document.addEventListener("visibilitychange", onVisibility);
      timers[2] = setInterval(() => output && !document.hidden && !isFinished(status()) && redraw(), TICK);
      refresh();
    },
    stop() {
      isStopped = true;
      document.removeEventListener("visibilitychange", onVisibility);
      timers.forEach((timer) => clearTimeout(timer));
      timers = [];
      hush();
    },
  };
}
