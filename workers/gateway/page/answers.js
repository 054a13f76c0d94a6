/*
 * What a run waits for from people, and the forms with which they answer: approval, yes or no, input, a result by hand.
 */
import { ask } from "./api.js";
import { announce, el, set, setText, show } from "./dom.js";
import { labelled, readObject, typedField } from "./fields.js";
import { compact, isLossless, plain, written } from "./json.js";
import { sender } from "./sending.js";
import { awaited } from "./story.js";
import { titledBlock } from "./text.js";
import { timeElement } from "./time.js";
import { outcomeWord } from "./words.js";

const TITLES = {
  approval: (call) => `Approve ${plain(call.name)}?`,
  confirmation: (call) => `Let ${plain(call.name)} run?`,
  input: (call) => `${plain(call.name)} needs your input`,
  result: (call) => `${plain(call.name)} needs a result`,
};
const WHY = {
  approval: (call) => `Pool ${call.pool} executes it once a person has approved it.`,
  confirmation: () => "It is executed once a person agrees.",
  input: () => "It is executed with what you give.",
  result: () => "No pool executes it; whoever does it gives the result.",
};

/** The card of one call that waits for a person; `who()` is the name of whoever answers. For `keyed`. */
export function answerCard(runId, who) {
  return ({ call }) => {
    const { kind, since } = awaited(call);
    const heading = el("h3", { tabindex: "-1" }, TITLES[kind](call));
    const why = el("p", { class: "why" }, WHY[kind](call), " Asked ", timeElement(since), ".");
    const card = {
      node: el("section", { class: "card", "data-kind": kind }, heading, why),
      heading,
      isAnswered: false,
      isSending: false,
      path: (verb) => `v1/runs/${encodeURIComponent(runId)}/calls/${encodeURIComponent(call.id)}/${verb}`,
      signed: (body) => (who() ? { ...body, answered_by: who() } : body),
    };
    card.form = FORMS[kind](card, call);
    card.node.append(card.form);
    return { node: card.node, update: ({ call, isOver }) => close(card, call, isOver) };
  };
}

/** Once the call waits for nobody any more, whoever answered it, the card says so and takes no answer. */
function close(card, call, isOver) {
  // Its own answer may be told of before it is acknowledged.
  card.update = () => close(card, call, isOver);
  if (card.isAnswered || card.isSending || (awaited(call)?.kind === card.node.dataset.kind && !isOver)) return;
  const by = call.answered?.by ? ` by ${plain(call.answered.by)}` : "";
  const how = call.outcome ? `: ${outcomeWord(call.outcome)}` : "";
  const isAnswered = call.answered || call.outcome;
  answered(card, isAnswered ? `Answered${by}${how}.` : "The run has ended; nobody is to answer any more.");
}

function answered(card, sentence) {
  card.isAnswered = true;
  const held = card.form.contains(document.activeElement) || document.activeElement === document.body;
  show(card.form, false);
  set(card.node, "data-answered", true);
  card.node.append(el("p", { class: "said" }, sentence));
  announce(`${card.heading.textContent} ${sentence}`);
  if (held) card.heading.focus();
}

async function give(card, controls, verb, body, sentence) {
  card.isSending = true;
  const given = await controls.send(() => ask(card.path(verb), { method: "POST", body: card.signed(body) }));
  card.isSending = false;
  if (given) answered(card, sentence);
  else card.update();
}

const FORMS = {
  approval(card, call) {
    const shown = written(call.tool?.tool_args ?? {});
    const editor = el("textarea", { rows: Math.min(14, shown.split("\n").length + 1), spellcheck: "false", class: "code", readonly: !isLossless });
    editor.value = shown;
    const args = labelled("Arguments (JSON; change them if need be)", editor);
    const decide = (approved) => {
      args.complain("");
      let changed = null;
      if (approved && editor.value !== shown) {
        try {
          changed = readObject(editor.value);
        } catch (error) {
          args.complain(error.message);
          editor.focus();
          return null;
        }
      }
      return { approved, arguments: changed };
    };
    return decision(card, [args.node], decide, ["Approve", "Deny"]);
  },
  confirmation(card, call) {
    const args = titledBlock("Arguments");
    args.update(compact(call.tool?.tool_args ?? {}));
    return decision(card, [args.node], (approved) => ({ approved }), ["Yes, let it run", "No"]);
  },
  input(card, call) {
    const fields = (call.tool?.user_input_schema ?? []).map(typedField);
    const args = titledBlock("Arguments that the model gave");
    const known = call.tool?.tool_args ?? {};
    args.update(Object.keys(known).length ? compact(known) : null);
    const controls = sender(args.node, ...fields.map((field) => field.node), buttons(["submit", "primary", "Send the input"]));
    return el("form", { onsubmit: submitted(() => sendInput(card, controls, fields)) }, controls.node);
  },
  result(card, call) {
    const args = titledBlock("Arguments");
    args.update(compact(call.tool?.tool_args ?? {}));
    const text = labelled("Result, as the model is to read it", el("textarea", { rows: "3" }));
    const controls = sender(args.node, text.node, buttons(["submit", "primary", "Give the result"], ["button", "danger", "Report as failed", () => settle("error")]));
    const settle = (field) => {
      const given = text.input.value;
      text.complain(given.trim() ? "" : "Say what came of it; the model reads it.");
      if (!given.trim()) return text.input.focus();
      return give(card, controls, "settle", { [field]: given }, field === "result" ? "You gave the result." : "You reported a failure.");
    };
    return el("form", { onsubmit: submitted(() => settle("result")) }, controls.node);
  },
};

function decision(card, before, decide, [yes, no]) {
  const note = labelled("Note (may be left empty)", el("input", { type: "text", maxlength: "4000", autocomplete: "off" }));
  const send = (approved) => {
    const decided = decide(approved);
    if (decided) give(card, controls, "confirm", { ...decided, note: note.input.value }, approved ? "You said yes." : "You said no.");
  };
  const controls = sender(...before, note.node, buttons(["submit", "primary", yes], ["button", "danger", no, () => send(false)]));
  return el("form", { onsubmit: submitted(() => send(true)) }, controls.node);
}

function sendInput(card, controls, fields) {
  const values = {};
  let wrong = null;
  for (const field of fields) {
    field.complain("");
    try {
      const value = field.read();
      if (value !== undefined) values[field.name] = value;
    } catch (error) {
      field.complain(error.message);
      wrong ??= field;
    }
  }
  if (wrong) wrong.input.focus();
  else give(card, controls, "input", { values }, "You gave the input.");
}

function buttons(...wanted) {
  return el("div", { class: "buttons" }, ...wanted.map(([type, kind, text, onclick]) => el("button", { type, class: kind, ...(onclick ? { onclick } : {}) }, text)));
}

function submitted(work) {
  return (event) => {
    event.preventDefault();
    work();
  };
}

/** The field for the name of whoever answers, kept for this tab: `{ node, name() }`. */
export function signature() {
  const field = labelled("Your name, for the record", el("input", { type: "text", maxlength: "150", autocomplete: "name" }));
  try {
    field.input.value = sessionStorage.getItem("errandry-name") ?? "";
    field.input.addEventListener("change", () => sessionStorage.setItem("errandry-name", field.input.value.trim()));
  } catch {
    // Without storage the name lasts as long as the page.
  }
  return { node: field.node, name: () => field.input.value.trim() };
}
