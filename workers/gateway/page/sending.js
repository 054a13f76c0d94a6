/*
 * Sends what a person decided: once, with its controls switched off meanwhile, and says what came of it.
 */
import { Problem } from "./api.js";
import { el, setText } from "./dom.js";

/** A fieldset whose buttons send, and its place for refusals: `{ node, complaint, send(work) }`. */
export function sender(...children) {
  const complaint = el("p", { class: "complaint", role: "alert" });
  const node = el("fieldset", {}, ...children, complaint);
  return { node, complaint, send: (work) => sending(node, complaint, work) };
}

/**
 * Does `work` while nothing in the fieldset can be used; its result, or undefined after a refusal, which is shown in
 * the gateway's words. The focus comes back to where it was.
 */
export async function sending(fieldset, complaint, work) {
  const held = fieldset.contains(document.activeElement) ? document.activeElement : null;
  setText(complaint, "");
  fieldset.disabled = true;
  fieldset.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    setText(complaint, error.message);
    return undefined;
  } finally {
    fieldset.disabled = false;
    fieldset.removeAttribute("aria-busy");
    if (held?.isConnected && document.activeElement === document.body) held.focus();
  }
}
