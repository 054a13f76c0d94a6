/*
 * Talks to the gateway: requests with the API key as a header, and a run's events as they come.
 */
import { parse } from "./json.js";
import { askForKey, currentKey } from "./key.js";
import { noteServerTime } from "./time.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
// The gateway gives a sign of life every 15 s; a connection that is silent for longer is dead.
const LONGEST_SILENCE = 45_000;
const FINAL = new Set(["RunCompleted", "RunCancelled", "RunError"]);

/** A refusal by the gateway, in its own words. Status 0: it could not be reached. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The answer to a request, as JSON; `Problem` if it is refused. A `body` is sent as JSON. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const response = await request(path, { method, headers, body: sent, signal });
  return parse(await reading(response.text(), signal));
}

/**
 * Hands each event of a run to `onEvent`, from after `after` on, until the run's end; then returns. Comes back by
 * itself after a break, without gap and without repeat. `onState` hears "live" and "away". `Problem` if refused.
 */
export async function follow(runId, { after, signal, onEvent, onState }) {
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    const silence = new AbortController();
    const either = AbortSignal.any([signal, silence.signal]);
    try {
      const headers = after ? { "Last-Event-ID": after } : {};
      const response = await request(`v1/runs/${encodeURIComponent(runId)}/events`, { headers, signal: either });
      onState("live");
      if (response.status === 204) return; // nothing came after that event, and nothing will
      let isOver = false;
      for await (const frame of frames(response.body, silence)) {
        wait = FIRST_WAIT;
        if (frame.data === undefined) continue;
        const event = parse(frame.data);
        onEvent(event, frame.id);
        after = frame.id;
        isOver = FINAL.has(event.event);
      }
      if (isOver) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status >= 400 && error.status < 500) throw error;
    }
    onState("away");
    // Spread, so that a gateway that comes back is not met by all its readers at once.
    await sleep(wait * (0.5 + Math.random()), signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}

async function request(path, options) {
  for (;;) {
    const key = currentKey();
    const headers = { ...options.headers, ...(key === null ? {} : { Authorization: `Bearer ${key}` }) };
    const asked = fetch(new URL(path, document.baseURI), { cache: "no-store", ...options, headers });
    const response = await reading(asked, options.signal);
    noteServerTime(response.headers.get("Date"));
    if (response.ok) return response;
    const problem = new Problem(response.status, await told(response));
    if (response.status !== 401 || (currentKey() === key && !(await askForKey(problem.message)))) throw problem;
  }
}

async function reading(promise, signal) {
  try {
    return await promise;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The gateway cannot be reached just now.");
  }
}

async function told(response) {
  const text = await response.text().catch(() => "");
  try {
    return JSON.parse(text).detail || response.statusText;
  } catch {
    return `The gateway answered with ${response.status} ${response.statusText}.`;
  }
}

/** The frames of a stream of server-sent events; comments come as empty frames. `silence` is aborted if none comes. */
async function* frames(body, silence) {
  let timer = setTimeout(() => silence.abort(), LONGEST_SILENCE);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), LONGEST_SILENCE);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield frameOf(part);
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

function frameOf(text) {
  const frame = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) frame[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  return frame;
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
