/*
 * The messages of a run in the order in which the model saw them, and what it is writing just now.
 */
import { el, keyed, set, setText, show } from "./dom.js";
import { compact, parse, plain } from "./json.js";
import { textBlock, titledBlock } from "./text.js";
import { roleWord } from "./words.js";

const MOST_MESSAGES = 100;

/** The conversation: `{ node, update(messages, written) }`; `written` is the text under way, null if there is none. */
export function conversation() {
  let showsAll = false;
  let told = [[], null];
  const earlier = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => ((showsAll = true), draw()) });
  const list = el("ol", { class: "messages", role: "list" });
  const rows = keyed(list, message);
  const empty = el("p", { class: "hint", hidden: true }, "Nothing has been said yet.");
  const node = el("div", {}, earlier, list, empty);

  function draw() {
    const [messages, writing] = told;
    const from = showsAll ? 0 : Math.max(0, messages.length - MOST_MESSAGES);
    setText(earlier, `Show ${from} earlier messages`);
    show(earlier, from > 0);
    show(empty, !messages.length && writing === null);
    const entries = messages.slice(from).map((one, index) => [from + index, one]);
    if (writing !== null) entries.push(["writing", { role: "assistant", content: writing, isWriting: true }]);
    rows(entries);
  }
  return {
    node,
    update(messages, writing) {
      told = [messages, writing];
      draw();
    },
  };
}

function message({ isWriting }) {
  const who = el("h3", { class: "who" });
  const text = textBlock({ fromEnd: isWriting === true });
  const calls = el("div");
  const asked = keyed(calls, askedCall);
  const node = el("li", { class: "message" }, who, text.node, calls);
  return {
    node,
    update(given) {
      set(node, "data-role", given.role);
      set(node, "data-error", given.tool_call_error === true);
      set(node, "aria-busy", given.isWriting ? "true" : null);
      const more = [
        given.role === "tool" ? plain(given.tool_name) : null,
        given.tool_call_error ? "error" : null,
        given.from_history ? "from an earlier run of the session" : null,
        given.isWriting ? "writing…" : null,
      ].filter(Boolean);
      setText(who, [roleWord(given.role), ...more].join(" · "));
      show(text.node, Boolean(given.content));
      text.update(given.content ?? "");
      asked((given.tool_calls ?? []).map((call) => [call.id, call]));
    },
  };
}

function askedCall() {
  const block = titledBlock("");
  return {
    node: block.node,
    update(call) {
      setText(block.node.firstElementChild, `asks for ${plain(call.name)}`);
      block.update(readable(call.arguments));
    },
  };
}

function readable(json) {
  try {
    return compact(parse(json));
  } catch {
    return plain(json);
  }
}
