/*
 * What the page shows of one run, from its title to its messages, and how it is brought up to date in place.
 */
import { actions } from "./actions.js";
import { answerCard, signature } from "./answers.js";
import { conversation } from "./conversation.js";
import { announce, el, keyed, setText, show } from "./dom.js";
import { compact, plain, written } from "./json.js";
import { awaited } from "./story.js";
import { factList, textBlock } from "./text.js";
import { timeline } from "./timeline.js";
import { absolute, ago, duration, now, timeElement } from "./time.js";
import { isFinished, statusBadge, statusWord } from "./words.js";

/** The page of a run: `{ node, heading, fail(problem, retry), draw(output, story, now) }`. For `onDone` see `actions`. */
export function runPage(runId, onDone) {
  const heading = el("h1", { tabindex: "-1" }, "Run");
  const badge = statusBadge();
  const input = textBlock();
  const error = el("p", { class: "callout ended", role: "alert", hidden: true });
  const failure = el("p", { class: "callout bad failure", role: "alert", hidden: true });
  const again = el("button", { type: "button", hidden: true }, "Try again");
  const waits = el("p", { class: "callout", hidden: true });
  const facts = factList();
  const acts = actions(runId, onDone);
  const people = peopleSection(runId);
  const result = textBlock();
  const bars = timeline();
  const talk = conversation();
  const resultSection = section("Result", result.node);
  const known = el("div", { hidden: true }, facts.node, error, waits, people.node, resultSection, section("Timeline", bars.node), section("Messages", talk.node));
  const title = el("div", { class: "run-title" }, heading, badge.node, acts.node);
  const node = el("article", { class: "run" }, el("p", { class: "crumb" }, el("a", { href: "#/" }, "← All runs")), title, el("div", { class: "asked" }, input.node), failure, again, known);
  const created = el("span");
  let before = null;
  let retrying = null;
  again.addEventListener("click", () => retrying?.());

  return {
    node,
    heading,
    fail(problem, retry = null) {
      retrying = retry;
      setText(failure, problem?.message ?? "");
      show(failure, Boolean(problem));
      show(again, Boolean(problem));
    },
    draw(output, story, { status, isKnown }) {
      const time = now();
      document.title = `${statusWord(status)}: ${plain(output.agent_name)} - Errandry`;
      setText(heading, plain(output.agent_name));
      badge.update(status);
      input.update(output.input);
      acts.update(status);
      show(known, true);
      if (!created.childNodes.length) created.append(absolute(Date.parse(output.created_at)), ", ", timeElement(Date.parse(output.created_at)));
      facts.update(factsOf(runId, output, story, { status, time, created }));
      setText(error, plain(output.error));
      error.classList.toggle("bad", status === "ERROR");
      show(error, Boolean(output.error) && status === output.status);
      const waiting = waitsFor(story, status);
      setText(waits, waiting ?? "");
      show(waits, waiting !== null);
      people.update(output, story, status);
      const content = status === "COMPLETED" ? output.content : null;
      show(resultSection, content !== null && content !== "");
      result.update(typeof content === "string" ? content : content === null ? "" : written(content));
      bars.update(story, time);
      const last = story.entries.findLast((entry) => entry.kind === "turn");
      const writing = story.turn?.text || (!isKnown && last?.outcome !== "void" ? last?.text : "") || null;
      talk.update(output.messages, writing);
      if (before !== null && before !== status) announce(`The run is ${statusWord(status)}. ${waiting ?? ""}`);
      before = status;
    },
  };
}

function section(title, ...children) {
  return el("section", {}, el("h2", { tabindex: "-1" }, title), ...children);
}

function factsOf(runId, output, story, { status, time, created }) {
  const usage = output.metrics ?? {};
  const tokens = usage.total_tokens ? `${usage.input_tokens.toLocaleString()} in, ${usage.output_tokens.toLocaleString()} out` : null;
  const more = [usage.cached_tokens ? `${usage.cached_tokens.toLocaleString()} cached` : null, usage.reasoning_tokens ? `${usage.reasoning_tokens.toLocaleString()} reasoning` : null];
  const began = Date.parse(output.created_at);
  const end = story.endedAt ?? (isFinished(status) ? null : time);
  const metadata = Object.keys(output.metadata ?? {}).length ? compact(output.metadata) : null;
  return [
    ["Run", runId],
    ["Created", created],
    ["Took", end === null ? null : duration(end - began)],
    ["Waited for a worker", story.startedAt === null ? null : duration(story.startedAt - began)],
    ["Model", plain(output.model)],
    ["Model calls", usage.model_calls || null],
    ["Tokens", tokens && [tokens, ...more].filter(Boolean).join(", ")],
    ["Session", plain(output.session_id)],
    ["User", plain(output.user_id)],
    ["Metadata", metadata],
  ];
}

/** Where the calls are that a run waits for, beside those that people are asked for below. */
function waitsFor(story, status) {
  if (isFinished(status)) return null;
  if (status === "PENDING") return "Waits for an agent worker to take it. If there is none: errandry agent-worker";
  const pools = new Map();
  for (const call of story.calls) {
    const wait = awaited(call);
    if (wait?.kind !== "pool" || wait.attempt) continue;
    const calls = pools.get(call.pool) ?? [];
    pools.set(call.pool, [...calls, wait.since]);
  }
  if (!pools.size) return null;
  return [...pools].map(([pool, since]) => `${since.length} of its calls wait${since.length > 1 ? "" : "s"} for a worker of pool ${pool}, since ${ago(Math.min(...since))}.`).join(" ");
}

function peopleSection(runId) {
  const name = signature();
  const cards = el("div", { class: "cards" });
  const rows = keyed(cards, answerCard(runId, name.name));
  const heading = el("h2", { tabindex: "-1" }, "Waits for you");
  const node = el("section", { class: "people", hidden: true }, heading, name.node, cards);
  const shown = new Map();
  return {
    node,
    update(output, story, status) {
      const isOver = isFinished(status);
      const settled = new Set(output.tools.filter((tool) => tool.outcome).map((tool) => `${tool.step}/${tool.tool_call_id}`));
      for (const call of story.calls) {
        const wait = awaited(call);
        if (!isOver && wait && wait.kind !== "pool" && !settled.has(call.key)) shown.set(call.key, call);
      }
      const open = [...shown.values()].filter((call) => !isOver && awaited(call) && awaited(call).kind !== "pool").length;
      setText(heading, open ? "Waits for you" : "Answered");
      show(name.node, open > 0);
      show(node, shown.size > 0);
      rows([...shown].map(([key, call]) => [key, { call, isOver }]));
    },
  };
}
