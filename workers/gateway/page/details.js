/*
 * What a row of the timeline opens to: where and how a call was executed, its arguments, output and result; the text of
 * a model turn.
 */
import { el, keyed, setText, show } from "./dom.js";
import { compact, plain } from "./json.js";
import { factList, textBlock, titledBlock } from "./text.js";
import { absolute, duration } from "./time.js";
import { outcomeWord } from "./words.js";

/** The details of an entry: `{ node, update({ entry, end }) }`. */
export function details(entry) {
  return entry.kind === "turn" ? turnDetails() : callDetails();
}

function turnDetails() {
  const facts = factList();
  const text = titledBlock("Text");
  return {
    node: el("div", {}, facts.node, text.node),
    update({ entry, end }) {
      facts.update([
        ["Began", absolute(entry.from)],
        ["Took", duration((entry.to ?? end) - entry.from)],
        ["First text after", entry.firstAt === null ? null : duration(entry.firstAt - entry.from)],
      ]);
      text.update(entry.outcome === "void" ? null : entry.text);
    },
  };
}

function callDetails() {
  const facts = factList();
  const attempts = attemptTable();
  const args = titledBlock("Arguments");
  const requested = titledBlock("Arguments as the model gave them");
  const output = liveOutput();
  const result = titledBlock("Result");
  return {
    node: el("div", {}, facts.node, attempts.node, args.node, requested.node, output.node, result.node),
    update({ entry, end }) {
      const tool = entry.tool ?? {};
      const metrics = tool.metrics ?? {};
      const first = entry.attempts[0];
      facts.update([
        ["Call", plain(entry.id)],
        ["Asked for", absolute(entry.from)],
        ["Queued", first && !entry.isInline ? duration(1000 * (first.wait ?? 0) || first.from - (entry.answered?.at ?? entry.from)) : null],
        ["CPU", metrics.cpu_seconds === undefined || metrics.cpu_seconds === null ? null : duration(1000 * metrics.cpu_seconds)],
        ["Peak memory", metrics.peak_memory_mb ? `${metrics.peak_memory_mb.toFixed(1)} MB` : null],
        ["Exit code", metrics.exit_code],
        ["Answered", entry.answered ? `${absolute(entry.answered.at)}${entry.answered.by ? ` by ${plain(entry.answered.by)}` : ""}` : null],
        ["Note", plain(entry.answered?.note || tool.confirmation_note)],
        ["Answer in, taken up after", entry.settledAt !== null && entry.done && !entry.isInline ? duration(entry.done.at - entry.settledAt) : null],
        ["Shortened", metrics.truncated ? "the result was too long and is cut in the middle" : null],
      ]);
      attempts.update(entry, end);
      const changed = entry.changed ?? (tool.requested_args ? tool.tool_args : null);
      args.update(tool.tool_args || changed ? compact(changed ?? tool.tool_args) : null);
      requested.update(changed ? compact(tool.requested_args ?? tool.tool_args) : null);
      output.update(entry);
      const found = tool.result;
      result.update(found === null || found === undefined ? null : typeof found === "string" ? found : compact(found));
    },
  };
}

function attemptTable() {
  const names = ["Attempt", "Outcome", "Took", "Worker", "Sandbox"];
  const body = el("tbody");
  const rows = keyed(body, attemptRow);
  const heads = names.map((name) => el("th", { scope: "col" }, name));
  const node = el("div", { class: "scrolled", hidden: true }, el("table", { class: "attempts" }, el("thead", {}, el("tr", {}, ...heads)), body));
  return {
    node,
    update(entry, end) {
      show(node, entry.attempts.length > 0);
      rows(entry.attempts.map((attempt) => [attempt.number, { attempt, entry, end }]));
    },
  };
}

function attemptRow() {
  const cells = Array.from({ length: 5 }, () => el("td"));
  return {
    node: el("tr", {}, ...cells),
    update({ attempt, entry, end }) {
      const took = attempt.wall === null ? (attempt.to ?? entry.settledAt ?? end) - attempt.from : 1000 * attempt.wall;
      const told = [
        attempt.number,
        attempt.to === null ? (entry.settledAt === null ? "executing" : outcomeWord(entry.outcome)) : outcomeWord(attempt.outcome),
        duration(took),
        attempt.worker ?? (entry.isInline ? "agent worker" : "-"),
        attempt.level ?? (entry.isInline ? "none" : "-"),
      ];
      told.forEach((text, index) => setText(cells[index], plain(text)));
    },
  };
}

function liveOutput() {
  const block = textBlock({ fromEnd: true, label: "Output of the tool" });
  const summary = el("summary");
  const node = el("details", { class: "output", open: true, hidden: true }, summary, block.node);
  return {
    node,
    update(entry) {
      const attempt = entry.attempts.findLast((one) => one.output);
      show(node, attempt !== undefined);
      if (!attempt) return;
      const which = entry.attempts.length > 1 ? ` of attempt ${attempt.number}` : "";
      setText(summary, `Output${which}${attempt.to === null ? ", live" : ""}${attempt.isCut ? ", its end" : ""}`);
      block.update(attempt.output);
    },
  };
}
