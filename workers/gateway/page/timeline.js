/*
 * The timeline of a run: a row for each model turn and each tool call, with bars for what it waited for and what was
 * done. A row opens to its details.
 */
import { details } from "./details.js";
import { el, keyed, set, setText, show } from "./dom.js";
import { plain } from "./json.js";
import { scaleOf } from "./scale.js";
import { awaited } from "./story.js";
import { duration } from "./time.js";
import { outcomeWord, waitWords } from "./words.js";

// Rows above this are drawn once somebody asks for them.
const MOST_ROWS = 200;
let lastId = 0;

/** The timeline: `{ node, update(story, now) }`. */
export function timeline() {
  let showsAll = false;
  let drawn = null;
  const earlier = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => ((showsAll = true), redraw()) });
  const axis = el("div", { class: "axis", "aria-hidden": "true" });
  const list = el("ol", { class: "rows", role: "list" });
  const update = keyed(list, row);
  const marks = keyed(axis, mark);
  const scale = el("div", { class: "axis-row" }, el("span"), axis, el("span"));
  const node = el("div", { class: "timeline" }, scale, earlier, list, legend());

  function redraw() {
    const { story, now } = drawn;
    const end = story.endedAt ?? now;
    const entries = showsAll ? story.entries : story.entries.slice(-MOST_ROWS);
    const left = story.entries.length - entries.length;
    setText(earlier, `Show ${left} earlier rows`);
    show(earlier, left > 0);
    const pieces = new Map(entries.map((entry) => [entry, segments(entry, end)]));
    const busy = [...pieces.values()].flat().filter((one) => one.isWork).map((one) => [one.from, one.to]);
    const start = left > 0 ? entries[0].from : (story.askedAt ?? story.startedAt ?? end);
    const scaled = scaleOf(Math.min(start, entries[0]?.from ?? start), end, busy);
    marks([
      ["start", { at: 0, text: "0 s", side: "start" }],
      ...scaled.cuts.slice(0, 12).map((cut) => [
        `cut ${cut.from}`,
        { from: scaled.place(cut.from), to: scaled.place(cut.to), text: duration(cut.to - cut.from), side: "cut" },
      ]),
      ["end", { at: 1, text: duration(scaled.end - scaled.start), side: "end" }],
    ]);
    update(entries.map((entry) => [entry.key, { entry, pieces: pieces.get(entry), scale: scaled, end, isOver: story.endedAt !== null }]));
  }
  return {
    node,
    update(story, now) {
      drawn = { story, now };
      redraw();
    },
  };
}

/** What a turn or call did when: pieces with `from`, `to`, `kind`, and whether anything was at work. */
export function segments(entry, end) {
  if (entry.kind === "turn") {
    return [{ kind: "model", outcome: entry.outcome, from: entry.from, to: entry.to ?? end, isWork: true }];
  }
  const found = [];
  const add = (kind, from, to, more = {}) => to > from && found.push({ kind, from, to, isWork: false, ...more });
  const over = entry.settledAt ?? end;
  const wait = entry.answered || !entry.tool ? null : awaited({ ...entry, settledAt: null, done: null });
  let reached = entry.from;
  if (entry.answered || (wait && wait.kind !== "pool")) {
    reached = entry.answered?.at ?? over;
    add("person", entry.from, reached);
  }
  for (const attempt of entry.attempts) {
    add("queued", reached, attempt.from);
    reached = Math.max(attempt.to ?? over, attempt.from);
    found.push({ kind: "executing", from: attempt.from, to: reached, outcome: attempt.outcome, isWork: true });
  }
  add("queued", reached, over);
  if (entry.settledAt !== null) add("settled", entry.settledAt, entry.done?.at ?? end);
  return found;
}

/** How a turn or call stands, as `[word, tone]`. */
export function standing(entry, isOver) {
  if (entry.kind === "turn") {
    if (entry.to === null) return [entry.text ? "writing" : "thinking", "busy"];
    return { void: ["begun anew", "off"], failed: ["failed", "bad"], cancelled: ["cancelled", "off"] }[entry.outcome] ?? ["done", "good"];
  }
  if (entry.outcome) return [outcomeWord(entry.outcome), entry.outcome === "succeeded" ? "good" : "bad"];
  if (isOver) return ["not done", "off"];
  const last = entry.attempts.at(-1);
  if (last?.to === null) return [last.number > 1 ? `executing, attempt ${last.number}` : "executing", "busy"];
  const wait = awaited(entry);
  if (wait && wait.kind !== "pool") return [`waits for ${waitWords(wait)}`, "person"];
  return [entry.attempts.length ? "queued again" : "queued", "off"];
}

function row() {
  const id = `row-${++lastId}`;
  const title = el("span", { class: "row-title" });
  const place = el("span", { class: "row-place" });
  const state = el("span", { class: "row-state" });
  const lasted = el("span", { class: "row-lasted" });
  const track = el("span", { class: "track", "aria-hidden": "true" });
  const draw = keyed(track, bar);
  const detail = el("div", { class: "detail", id, hidden: true });
  const head = el(
    "button",
    { type: "button", class: "row-head", "aria-expanded": "false", "aria-controls": id, onclick: () => toggle(!isOpen, true) },
    el("span", { class: "row-name" }, title, " ", place), track, el("span", { class: "row-end" }, state, " ", lasted),
  );
  const node = el("li", { class: "row" }, head, detail);
  let shown = null;
  let isOpen = false;
  let wasToggled = false;
  let current = null;

  function toggle(open, byHand) {
    isOpen = open;
    wasToggled ||= byHand;
    set(head, "aria-expanded", isOpen);
    if (isOpen && !shown) detail.append((shown = details(current.entry)).node);
    show(detail, isOpen);
    if (isOpen) shown.update(current);
  }
  return {
    node,
    update(given) {
      current = given;
      const { entry, pieces, scale, end, isOver } = given;
      const [word, tone] = standing(entry, isOver);
      set(node, "data-kind", entry.kind);
      setText(title, entry.kind === "turn" ? "Model" : plain(entry.name));
      setText(place, entry.kind === "turn" ? `step ${entry.step}` : (entry.pool ?? (entry.isInline ? "inline" : "by hand")));
      set(place, "data-inline", entry.kind === "call" && !entry.pool);
      setText(state, word);
      set(state, "data-tone", tone);
      setText(lasted, duration((entry.settledAt ?? entry.to ?? end) - entry.from));
      draw(pieces.map((piece, index) => [index, { piece, scale }]));
      if (!wasToggled && !isOpen && entry.attempts?.some((attempt) => attempt.to === null && attempt.output)) toggle(true, false);
      else if (isOpen) shown.update(given);
    },
  };
}

function bar() {
  const node = el("span", { class: "bar-piece" });
  return {
    node,
    update({ piece, scale }) {
      const left = scale.place(piece.from);
      set(node, "data-kind", piece.kind);
      set(node, "data-outcome", piece.outcome);
      node.style.left = `${(100 * left).toFixed(3)}%`;
      node.style.width = `${(100 * Math.max(0, scale.place(piece.to) - left)).toFixed(3)}%`;
    },
  };
}

function mark() {
  const node = el("span", { class: "mark" });
  return {
    node,
    update({ at, from, to, text, side }) {
      set(node, "data-side", side);
      setText(node, text);
      node.style.left = `${(100 * (at ?? from)).toFixed(3)}%`;
      node.style.width = from === undefined ? "" : `${(100 * (to - from)).toFixed(3)}%`;
    },
  };
}

function legend() {
  const kinds = [
    ["model", null, "model"], ["person", null, "waits for a person"], ["queued", null, "queued"],
    ["executing", null, "executing"], ["executing", "succeeded", "succeeded"], ["executing", "failed", "did not"],
    ["settled", null, "answer is in"],
  ];
  const swatch = (kind, outcome) => el("span", { class: "bar-piece", "data-kind": kind, "data-outcome": outcome });
  const entries = kinds.map(([kind, outcome, word]) => el("span", {}, swatch(kind, outcome), word));
  return el("p", { class: "legend", "aria-hidden": "true" }, ...entries);
}
