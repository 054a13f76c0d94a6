/*
 * Long texts, cut short until somebody asks for the rest. Shows text as it is, never as markup.
 */
import { el, set, setText, show } from "./dom.js";

const SHORT = 1200;
// A browser that has to lay out more than this at once stands still.
const LONGEST = 300_000;

/** A block of text: `{ node, update(text) }`. With `fromEnd` its end is what is shown of a long one. */
export function textBlock({ fromEnd = false, label = null } = {}) {
  let whole = "";
  let isOpen = false;
  const pre = el("pre", { class: "text", tabindex: label ? "0" : null, role: label ? "region" : null, "aria-label": label });
  const more = el("button", { type: "button", class: "quiet more", hidden: true, onclick: () => ((isOpen = !isOpen), draw()) });
  const node = el("div", { class: "text-block" }, pre, more);

  function draw() {
    const isLong = whole.length > SHORT;
    const limit = isOpen ? LONGEST : SHORT;
    const cut = whole.length > limit;
    const part = !cut ? whole : fromEnd ? `…${whole.slice(-limit)}` : `${whole.slice(0, limit)}…`;
    setText(pre, part);
    set(more, "aria-expanded", isOpen);
    const count = whole.length.toLocaleString();
    const all = whole.length > LONGEST ? `${LONGEST.toLocaleString()} of ${count} characters` : `all ${count} characters`;
    setText(more, isOpen ? "Show less" : `Show ${all}`);
    show(more, isLong);
  }
  return {
    node,
    update(text) {
      if (text === whole) return;
      whole = text;
      draw();
    },
  };
}

/** A heading with a block of text below it, gone while there is no text: `{ node, update(text) }`. */
export function titledBlock(title, options = {}) {
  const block = textBlock(options);
  const node = el("div", { class: "titled", hidden: true }, el("h4", {}, title), block.node);
  return {
    node,
    update(text) {
      show(node, text !== null && text !== "");
      block.update(text ?? "");
    },
  };
}

/** A list of facts that keeps its order: `{ node, update([[name, value], …]) }`; without a value a fact is left out. */
export function factList() {
  const node = el("dl", { class: "facts" });
  const shown = new Map();
  return {
    node,
    update(entries) {
      for (const [name, value] of entries) {
        let fact = shown.get(name);
        if (!fact) {
          const told = el("dd");
          fact = { told, node: el("div", {}, el("dt", {}, name), told) };
          shown.set(name, fact);
          node.append(fact.node);
        }
        fact.node.hidden = value === null || value === undefined || value === "";
        if (value instanceof Node) {
          if (fact.told.firstChild !== value) fact.told.replaceChildren(value);
        } else setText(fact.told, fact.node.hidden ? "" : String(value));
      }
    },
  };
}
